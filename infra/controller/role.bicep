// What the controller may do in one resource group: read and write what an Environment and an InferenceApp stand for,
// and read the keys and secrets it needs for that. It may grant nothing and create no resource group, and it may delete
// only where it is asked to prune.

@description('The object id of the controller\'s managed identity.')
param principalId string

@description('Whether it may delete what it created for objects that are gone from the desired state (--prune).')
param prune bool = false

var kept = [
  'Microsoft.Resources/subscriptions/resourceGroups/read'
  'Microsoft.Storage/storageAccounts/read'
  'Microsoft.Storage/storageAccounts/write'
  'Microsoft.Storage/storageAccounts/listKeys/action' // mounts the share, and signs uploads to it
  'Microsoft.Storage/storageAccounts/fileServices/read'
  'Microsoft.Storage/storageAccounts/fileServices/shares/read'
  'Microsoft.Storage/storageAccounts/fileServices/shares/write'
  'Microsoft.OperationalInsights/workspaces/read'
  'Microsoft.OperationalInsights/workspaces/write'
  'Microsoft.OperationalInsights/workspaces/sharedKeys/action' // an environment sends its logs with it
  'Microsoft.App/managedEnvironments/read'
  'Microsoft.App/managedEnvironments/write'
  'Microsoft.App/managedEnvironments/join/action' // asked of whoever puts an app into an environment
  'Microsoft.App/managedEnvironments/storages/read'
  'Microsoft.App/managedEnvironments/storages/write'
  'Microsoft.App/containerApps/read'
  'Microsoft.App/containerApps/write'
  'Microsoft.App/containerApps/listSecrets/action' // secrets are an array: others' are sent back as they are
  'Microsoft.App/containerApps/getAuthToken/action' // the log of a container that fails
  'Microsoft.App/containerApps/revisions/read'
  'Microsoft.App/containerApps/revisions/activate/action' // one that somebody stopped
  'Microsoft.App/containerApps/revisions/deactivate/action' // what failed, or is superseded, gives its GPU back
  'Microsoft.App/containerApps/revisions/replicas/read'
]
var deleted = prune ? [
  'Microsoft.App/containerApps/delete'
  'Microsoft.App/managedEnvironments/delete'
  'Microsoft.OperationalInsights/workspaces/delete'
  'Microsoft.Storage/storageAccounts/delete'
  'Microsoft.Storage/storageAccounts/fileServices/shares/delete'
] : []

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'acaops controller')
  properties: {
    // A role's name is unique in its tenant.
    roleName: 'acaops controller (${resourceGroup().name}, ${substring(uniqueString(resourceGroup().id), 0, 5)})'
    description: 'Makes Container Apps stacks match a folder of YAML.'
    type: 'CustomRole'
    permissions: [
      {
        actions: concat(kept, deleted)
        notActions: []
        dataActions: [
          'Microsoft.App/containerApps/logstream/action'
        ]
      }
    ]
    assignableScopes: [
      resourceGroup().id
    ]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, role.id)
  properties: {
    principalId: principalId
    // Without it, an identity made a moment ago may not be found.
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.name)
  }
}
