"""Azure Resource Manager and the providers that need no runtime: groups, storage accounts, workspaces."""
