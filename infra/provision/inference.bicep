// What "AI Toolkit: Provision Azure Container Apps for inference" makes: a storage account with a file share, a Log
// Analytics workspace, a Container Apps environment with a GPU profile and the share in it, and a container app.
// It is the stack acaops makes from an Environment with the profile below and an InferenceApp without content, so
// acaops adopts what is started here. What exists under a name is updated, what is missing is created:
//
//   az deployment group create -g GROUP -f infra/provision/inference.bicep -p infra/provision/inference.parameters.json
//
// The container starts once the commands find their code on the share.

@description('Shell commands run one after the other in /mount, where the share is; the last one serves.')
param defaultCommands array

@description('The most GPU machines. During a rollout the old and the new revision each hold one.')
param maximumInstanceCount int

@description('The region of everything.')
param location string = resourceGroup().location

// Names left null in the parameters file are those fine-tuning uses, so its models and adapters are found.
@description('Ends every name that is not given.')
param resourceSuffix string = substring(uniqueString(resourceGroup().id), 0, 5)

param storageAccountName string = 'aistorage${resourceSuffix}'
param fileShareName string = 'aifileshare${resourceSuffix}'
param acaEnvironmentName string = 'aienv${resourceSuffix}'
param acaEnvironmentStorageName string = 'aienvstorage${resourceSuffix}'
param acaAppName string = 'aiacaapp${resourceSuffix}'
param acaLogAnalyticsName string = 'ailog${resourceSuffix}'

var image = 'docker.io/pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime'
var port = 7860
var profile = 'GPU'
var volume = '${fileShareName}volume'

// By exec, so that SIGTERM reaches what serves; in a shell of its own, because it may be more than one plain command.
var quoted = replace(last(defaultCommands), '\'', '\'"\'"\'')
var serve = 'exec /bin/bash -c \'${quoted}\''
var commands = concat(['cd /mount'], take(defaultCommands, length(defaultCommands) - 1), [serve])

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: storageAccountName
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

// Every account has it; its settings are left as they are.
resource fileService 'Microsoft.Storage/storageAccounts/fileServices@2024-01-01' existing = {
  parent: account
  name: 'default'
}

resource share 'Microsoft.Storage/storageAccounts/fileServices/shares@2024-01-01' = {
  parent: fileService
  name: fileShareName
  properties: {
    shareQuota: 1024
    enabledProtocols: 'SMB'
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: acaLogAnalyticsName
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

resource managedEnvironment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: acaEnvironmentName
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
      {
        name: profile
        workloadProfileType: 'NC24-A100'
        minimumCount: 0
        maximumCount: maximumInstanceCount
      }
    ]
    zoneRedundant: false
  }
}

resource environmentStorage 'Microsoft.App/managedEnvironments/storages@2025-01-01' = {
  parent: managedEnvironment
  name: acaEnvironmentStorageName
  properties: {
    azureFile: {
      accountName: account.name
      accountKey: account.listKeys().keys[0].value
      shareName: share.name
      accessMode: 'ReadWrite'
    }
  }
}

resource app 'Microsoft.App/containerApps@2025-01-01' = {
  name: acaAppName
  location: location
  properties: {
    environmentId: managedEnvironment.id
    workloadProfileName: profile
    configuration: {
      activeRevisionsMode: 'Single'
      maxInactiveRevisions: 10
      ingress: {
        external: true
        targetPort: port
        traffic: [
          {
            latestRevision: true
            weight: 100
          }
        ]
      }
    }
    template: {
      containers: [
        {
          name: acaAppName
          image: image
          command: [
            '/bin/bash'
            '-c'
            join(commands, ' && ')
          ]
          resources: {
            cpu: 24
            memory: '220Gi'
          }
          probes: [
            {
              type: 'Startup'
              tcpSocket: {
                port: port
              }
              initialDelaySeconds: 5
              periodSeconds: 5 // 240 failures: 20 minutes to load the model
              timeoutSeconds: 5
              failureThreshold: 240
            }
            {
              type: 'Readiness'
              tcpSocket: {
                port: port
              }
              periodSeconds: 5
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Liveness'
              tcpSocket: {
                port: port
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
          volumeMounts: [
            {
              volumeName: volume
              mountPath: '/mount'
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 1
        rules: [
          {
            name: 'http'
            http: {
              metadata: {
                concurrentRequests: '10'
              }
            }
          }
        ]
      }
      volumes: [
        {
          name: volume
          storageType: 'AzureFile'
          storageName: environmentStorage.name
        }
      ]
      terminationGracePeriodSeconds: 60
    }
  }
}

output SUBSCRIPTION_ID string = subscription().subscriptionId
output RESOURCE_GROUP_NAME string = resourceGroup().name
output STORAGE_ACCOUNT_NAME string = account.name
output FILE_SHARE_NAME string = share.name
output ACA_APP_NAME string = app.name
output ACA_APP_ENDPOINT string = app.properties.configuration.ingress.fqdn
