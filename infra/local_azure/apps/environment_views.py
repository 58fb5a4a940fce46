"""A managed environment as the wire has it: document in, JSON out. Decides nothing."""

from __future__ import annotations

from infra.local_azure.apps import addresses, context, locations
from infra.local_azure.apps.context import Document

TYPE = "Microsoft.App/managedEnvironments"


def environment(rooms: context.Context, document: Document) -> Document:
    """The environment on the wire (recorded: managedenv-put-create-gpu, managedenv-get-succeeded-gpu)."""
    settings = document["properties"]
    created = document["provisioned"]
    logs = settings["appLogsConfiguration"]
    analytics = logs["logAnalyticsConfiguration"]
    properties = {
        "provisioningState": document["state"],
        **({"deploymentErrors": document["errors"]} if document["errors"] else {}),
        **settings,
        "appLogsConfiguration": {
            "destination": logs["destination"],
            "logAnalyticsConfiguration": analytics and {"customerId": analytics["customerId"], "sharedKey": None},
        },
        "defaultDomain": addresses.domain(rooms, document),
        **({"staticIp": "127.0.0.1"} if created else {}),
        "kedaConfiguration": {"version": "2.16.1" if created else None},
        "daprConfiguration": {"version": "1.13.6-msft.2" if created else None},
        "eventStreamEndpoint": addresses.environment_stream(rooms, document),
        "customDomainConfiguration": _custom_domain(document["subscription"], settings["customDomainConfiguration"]),
    }
    return {
        "id": document["id"],
        "name": document["name"],
        "type": TYPE,
        "location": locations.display(document["location"]),
        **({"tags": document["tags"]} if document["tags"] else {}),
        "systemData": document["system"],
        "properties": properties,
    }


def _custom_domain(subscription: str, sent: Document | None) -> Document:
    keys = ("dnsSuffix", "certificateKeyVaultProperties", "thumbprint", "subjectName", "expirationDate")
    return {
        "customDomainVerificationId": addresses.verification_id(subscription),
        "certificateValue": None,
        "certificatePassword": None,
    } | {key: (sent or {}).get(key) for key in keys}
