// What the controller may do in one resource group: read and write what an Environment and an InferenceApp stand for,
// and read the keys and secrets it needs for that. It may delete nothing, grant nothing, and create no resource group.

@description('The object id of the controller\'s managed identity.')
param principalId string

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'acaops controller')
  properties: {
    // A role's name is unique in its tenant.
    roleName: 'acaops controller (${resourceGroup().name}, ${substring(uniqueString(resourceGroup().id), 0, 5)})'
    description: 'Makes Container Apps stacks match a folder of YAML.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
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
          'Microsoft.App/containerApps/revisions/read'
          'Microsoft.App/containerApps/revisions/replicas/read'
        ]
        notActions: []
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
