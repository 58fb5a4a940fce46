// The share whose lease says which controller leads: while one revision gives way to the next there are two. Nothing
// lies on it. Its account takes no keys, only the controller's own tokens.

@description('The region of the storage account.')
param location string

@description('The object id of the controller\'s managed identity.')
param principalId string

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'acaops${uniqueString(resourceGroup().id)}'
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource files 'Microsoft.Storage/storageAccounts/fileServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource share 'Microsoft.Storage/storageAccounts/fileServices/shares@2024-01-01' = {
  parent: files
  name: 'lease'
  properties: {
    shareQuota: 1
  }
}

// The built-in roles for files' data know no leases of shares, and those that do may delete the account.
resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'acaops lease')
  properties: {
    // A role's name is unique in its tenant.
    roleName: 'acaops lease (${resourceGroup().name}, ${substring(uniqueString(resourceGroup().id), 0, 5)})'
    description: 'Holds the lease by which one of several controllers leads.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Storage/storageAccounts/fileServices/shares/read'
          'Microsoft.Storage/storageAccounts/fileServices/shares/write' // the holder's name is the share's metadata
          'Microsoft.Storage/storageAccounts/fileServices/shares/lease/action'
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
  name: guid(account.id, principalId, role.id)
  scope: account
  properties: {
    principalId: principalId
    // Without it, an identity made a moment ago may not be found.
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.name)
  }
}

output address string = '${account.properties.primaryEndpoints.file}${share.name}'
