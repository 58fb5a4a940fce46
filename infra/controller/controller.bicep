// Runs the controller itself as a container app on the desired state in a git repository: one replica, a lease for the
// moments in which a new revision takes the place of the old one, a managed identity that may do in each target resource
// group what `role.bicep` lists and nothing elsewhere, and an ingress only where a hook secret is given. Whoever deploys this must be allowed to define and assign roles in the target groups
// (Owner, or User Access Administrator beside Contributor).
//
//   az deployment group create -g GROUP -f infra/controller/controller.bicep \
//     -p infra/controller/controller.parameters.json -p gitToken="$TOKEN"
//
// A private repository needs either gitToken, for https://, or gitSshKey and gitKnownHosts, for ssh. A changed secret
// alone makes no new revision, so restart the one there is after it:
//
//   az containerapp revision restart -g GROUP -n CONTROLLER_NAME --revision REVISION

@description('The controller image, REGISTRY/REPOSITORY:TAG.')
param image string

@description('The repository of the desired state: https://…, ssh://… or user@host:path.')
param repositoryUrl string

@description('The branch, tag or commit to follow.')
param repositoryRef string = 'main'

@description('The state folder in the repository.')
param repositoryPath string = 'desired_state'

@description('The name that goes with gitToken, where the host asks for one.')
param gitUsername string = ''

@description('The token that may read the repository, for https.')
@secure()
param gitToken string = ''

@description('The private half of the deploy key that may read the repository, for ssh.')
@secure()
param gitSshKey string = ''

@description('What ssh-keyscan says of the host, checked against what the host publishes.')
param gitKnownHosts string = ''

@description('What pushes told to HOOK_URL prove themselves by; empty: no ingress, and pushes are found by polling.')
@secure()
param hookSecret string = ''

@description('The address ranges that may call the ingress, such as "hooks" of https://api.github.com/meta. Empty: everyone, who then reads /status and /metrics too.')
param hookSources array = []

@description('The resource groups of this subscription that the controller may change. They must exist.')
param targetResourceGroups array = [
  resourceGroup().name
]

@description('Names this set of objects in owner tags; two controllers need two names.')
param inventory string = 'default'

@description('Delete what was created for objects that are gone from the desired state. Needs an inventory of its own name.')
param prune bool = false

@description('The region of everything made here.')
param location string = resourceGroup().location

@description('The container registry, in this resource group, that the image is pulled from; empty for a public image.')
param registryName string = ''

@description('What secrets of the desired state name by fromEnv: variable to value, such as API_KEYS to its keys.')
@secure()
param secretVariables object = {}

var suffix = substring(uniqueString(resourceGroup().id), 0, 5)
var pulls = !empty(registryName)
var hooked = !empty(hookSecret)

var allow = [for group in targetResourceGroups: '${subscription().subscriptionId}/${group}']
var settings = {
  ACAOPS_REPO: repositoryUrl
  ACAOPS_REF: repositoryRef
  ACAOPS_PATH: repositoryPath
  ACAOPS_INVENTORY: inventory
  ACAOPS_ALLOW: join(allow, ',')
  ACAOPS_LEASE: lease.outputs.address
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential'
}
var plainEnvironment = [for setting in items(settings): {
  name: setting.key
  value: setting.value
}]
var pruneEnvironment = prune ? [
  {
    name: 'ACAOPS_PRUNE'
    value: 'true'
  }
] : []
var userEnvironment = empty(gitUsername) ? [] : [
  {
    name: 'ACAOPS_GIT_USERNAME'
    value: gitUsername
  }
]

// Secrets that the controller reads from files, with the setting that names the file.
var tokenFile = empty(gitToken) ? [] : [
  {
    name: 'git-token'
    setting: 'ACAOPS_GIT_TOKEN_FILE'
    value: gitToken
  }
]
var keyFile = empty(gitSshKey) ? [] : [
  {
    name: 'git-ssh-key'
    setting: 'ACAOPS_GIT_SSH_KEY'
    value: '${gitSshKey}\n' // ssh reads no key whose last line has no end
  }
]
var hostsFile = empty(gitKnownHosts) ? [] : [
  {
    name: 'git-known-hosts'
    setting: 'ACAOPS_GIT_KNOWN_HOSTS'
    value: gitKnownHosts
  }
]
var hookFile = hooked ? [
  {
    name: 'hook-secret'
    setting: 'ACAOPS_HOOK_SECRET_FILE'
    value: hookSecret
  }
] : []
var files = concat(tokenFile, keyFile, hostsFile, hookFile)
var fileSecrets = [for file in files: {
  name: file.name
  value: file.value
}]
var fileEnvironment = [for file in files: {
  name: file.setting
  value: '/secrets/${file.name}'
}]
var fileItems = [for file in files: {
  secretRef: file.name
  path: file.name
}]
var fileMount = empty(files) ? [] : [
  {
    volumeName: 'secrets'
    mountPath: '/secrets'
  }
]
// Its items are named: without them, every secret of the app would become a file.
var fileVolume = empty(files) ? [] : [
  {
    name: 'secrets'
    storageType: 'Secret'
    secrets: fileItems
  }
]

// `variable-` keeps them apart from the secrets above, whatever the variables are called.
var secretNames = [for variable in items(secretVariables): 'variable-${toLower(replace(variable.key, '_', '-'))}']
var variableSecrets = [for (variable, i) in items(secretVariables): {
  name: secretNames[i]
  value: variable.value
}]
var secretEnvironment = [for (variable, i) in items(secretVariables): {
  name: variable.key
  secretRef: secretNames[i]
}]

var hookRules = [for (source, i) in hookSources: {
  name: 'hook-source-${i}'
  action: 'Allow'
  ipAddressRange: source
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
    prune: prune
  }
}]

module lease 'lease.bicep' = {
  name: 'acaops-lease-${suffix}'
  params: {
    location: location
    principalId: identity.properties.principalId
  }
}

module pull 'pull.bicep' = if (pulls) {
  name: 'acaops-pull-${suffix}'
  params: {
    registryName: registryName
    principalId: identity.properties.principalId
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
      secrets: concat(fileSecrets, variableSecrets)
      registries: pulls ? [
        {
          server: split(image, '/')[0]
          identity: identity.id
        }
      ] : []
      ingress: hooked ? {
        external: true
        targetPort: 8080
        ipSecurityRestrictions: hookRules
      } : null
    }
    template: {
      containers: [
        {
          name: 'controller'
          image: image
          env: concat([
            {
              name: 'AZURE_CLIENT_ID'
              value: identity.properties.clientId
            }
          ], plainEnvironment, pruneEnvironment, userEnvironment, fileEnvironment, secretEnvironment)
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
              // Not /readyz, which waits for a state that loads: the push that mends it must get in, and a revision
              // that is never ready would leave the old one leading.
              type: 'Readiness'
              httpGet: {
                path: '/healthz'
                port: 8080
                scheme: 'HTTP'
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
          volumeMounts: concat([
            {
              volumeName: 'cache'
              mountPath: '/cache'
            }
          ], fileMount)
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
      volumes: concat([
        {
          name: 'cache'
          storageType: 'EmptyDir'
        }
      ], fileVolume)
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
output HOOK_URL string = hooked ? 'https://${controller.properties.configuration.ingress.fqdn}/hook/git' : ''
