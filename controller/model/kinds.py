"""The kinds of things acaops reads and writes, and how they are called in status, plans and metrics."""

from __future__ import annotations

import enum


class Kind(enum.StrEnum):
    """ARM resources by their ARM type, then what lives beside ARM."""

    GROUP = "Microsoft.Resources/resourceGroups"
    ACCOUNT = "Microsoft.Storage/storageAccounts"
    FILE_SERVICE = "Microsoft.Storage/storageAccounts/fileServices"
    SHARE = "Microsoft.Storage/storageAccounts/fileServices/shares"
    WORKSPACE = "Microsoft.OperationalInsights/workspaces"
    ENVIRONMENT = "Microsoft.App/managedEnvironments"
    STORAGE = "Microsoft.App/managedEnvironments/storages"
    APP = "Microsoft.App/containerApps"
    CONTENT = "content"
    REVISION = "Microsoft.App/containerApps/revisions"

    @property
    def label(self) -> str:
        """The short name people read, e.g. `storageAccount`."""
        return _LABELS[self]


_LABELS = {
    Kind.GROUP: "resourceGroup",
    Kind.ACCOUNT: "storageAccount",
    Kind.FILE_SERVICE: "fileService",
    Kind.SHARE: "fileShare",
    Kind.WORKSPACE: "workspace",
    Kind.ENVIRONMENT: "managedEnvironment",
    Kind.STORAGE: "environmentStorage",
    Kind.APP: "containerApp",
    Kind.CONTENT: "content",
    Kind.REVISION: "revision",
}
