// Runs the controller itself as a container app: one replica, no ingress, a managed identity that may do in each target
// resource group what `role.bicep` lists and nothing elsewhere. Whoever deploys this must be allowed to define and
// assign roles in the target groups (Owner, or User Access Administrator beside Contributor).
//
//   az deployment group create -g GROUP -f infra/controller/controller.bicep -p infra/controller/controller.parameters.json
//
// The desired state is a folder on a file share, laid out as in the repository:
//
//   az storage file upload-batch --account-name STATE_ACCOUNT_NAME -d STATE_SHARE_NAME/desired_state -s desired_state
//   az storage file upload-batch --account-name STATE_ACCOUNT_NAME -d STATE_SHARE_NAME/inference -s inference
//
// Uploads raise no file events in the container, so restart its revision after them:
//
//   az containerapp revision restart -g GROUP -n CONTROLLER_NAME --revision REVISION

@description('The controller image, REGISTRY/REPOSITORY:TAG.')
param image string

@description('The resource groups of this subscription that the controller may change. They must exist.')
param targetResourceGroups array = [
  resourceGroup().name
]

@description('Names this set of objects in owner tags; two controllers need two names.')
param inventory string = 'default'

@description('The region of everything made here.')
param location string = resourceGroup().location

@description('The container registry, in this resource group, that the image is pulled from; empty for a public image.')
param registryName string = ''

@description('What secrets of the state folder name by fromEnv: variable to value, such as API_KEYS to its keys.')
@secure()
param secretVariables object = {}

var suffix = substring(uniqueString(resourceGroup().id), 0, 5)
var share = 'acaops-state'
var pulls = !empty(registryName)

var allow = [for group in targetResourceGroups: ['--allow', '${subscription().subscriptionId}/${group}']]
var secretNames = [for variable in items(secretVariables): toLower(replace(variable.key, '_', '-'))]
var secretEnvironment = [for (variable, i) in items(secretVariables): {
  name: variable.key
  secretRef: secretNames[i]
}]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'acaops-${suffix}'
  location: location
}

module access 'role.bicep' = [for group in targetResourceGroups: {
  name: 'acaops-access-${uniqueString(resourceGroup().id, group)}'
  scope: resourceGroup(group)
  params: {
    principalId: identity.properties.principalId
  }
}]

module pull 'pull.bicep' = if (pulls) {
  name: 'acaops-pull-${suffix}'
  params: {
    registryName: registryName
    principalId: identity.properties.principalId
  }
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'acaopsstate${suffix}'
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    allowBlobPublicAccess: false
    supportsHttpsTrafficOnly: true
  }
}

resource fileService 'Microsoft.Storage/storageAccounts/fileServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource stateShare 'Microsoft.Storage/storageAccounts/fileServices/shares@2024-01-01' = {
  parent: fileService
  name: share
  properties: {
    shareQuota: 10
    enabledProtocols: 'SMB'
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'acaops-${suffix}'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

// Its own environment: the controller must outlive trouble in the ones it looks after.
resource managedEnvironment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: 'acaops-${suffix}'
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: workspace.properties.customerId
        sharedKey: workspace.listKeys().primarySharedKey
      }
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
    zoneRedundant: false
  }
}

resource stateStorage 'Microsoft.App/managedEnvironments/storages@2025-01-01' = {
  parent: managedEnvironment
  name: share
  properties: {
    azureFile: {
      accountName: account.name
      accountKey: account.listKeys().keys[0].value
      shareName: stateShare.name
      accessMode: 'ReadOnly'
    }
  }
}

resource controller 'Microsoft.App/containerApps@2025-01-01' = {
  name: 'acaops-${suffix}'
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: managedEnvironment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      secrets: [for (variable, i) in items(secretVariables): {
        name: secretNames[i]
        value: variable.value
      }]
      registries: pulls ? [
        {
          server: split(image, '/')[0]
          identity: identity.id
        }
      ] : []
    }
    template: {
      containers: [
        {
          name: 'controller'
          image: image
          args: concat([
            'run'
            '/state/desired_state'
            '--host'
            '0.0.0.0'
            '--inventory'
            inventory
          ], flatten(allow))
          env: concat([
            {
              name: 'AZURE_TOKEN_CREDENTIALS'
              value: 'ManagedIdentityCredential'
            }
            {
              name: 'AZURE_CLIENT_ID'
              value: identity.properties.clientId
            }
          ], secretEnvironment)
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Liveness'
              httpGet: {
                path: '/healthz'
                port: 8080
                scheme: 'HTTP'
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 8080
                scheme: 'HTTP'
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
          volumeMounts: [
            {
              volumeName: 'state'
              mountPath: '/state'
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
      volumes: [
        {
          name: 'state'
          storageType: 'AzureFile'
          storageName: stateStorage.name
        }
      ]
      terminationGracePeriodSeconds: 60
    }
  }
  // Without its rights the controller would begin with refusals.
  dependsOn: [
    access
    pull
  ]
}

output CONTROLLER_NAME string = controller.name
output PRINCIPAL_ID string = identity.properties.principalId
output STATE_ACCOUNT_NAME string = account.name
output STATE_SHARE_NAME string = stateShare.name
