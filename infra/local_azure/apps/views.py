"""Apps, revisions and replicas as the wire has them: documents and states in, JSON out. Decides nothing."""

from __future__ import annotations

from infra.local_azure import replicas, wire
from infra.local_azure.apps import addresses, context, locations, normalise, profiles, states, traffic
from infra.local_azure.apps.context import Document

TYPE = "Microsoft.App/containerApps"
# Recorded lists hold 1 to 160 addresses in changing order; from here everything goes out of loopback.
_OUTBOUND = ["127.0.0.1"]


def app(rooms: context.Context, document: Document) -> Document:
    """A GET's app (recorded: containerapp-get-succeeded-azurefile)."""
    ingress = document["configuration"]["ingress"]
    properties = {
        "provisioningState": document["state"],
        **({"runningStatus": "Running" if document["running"] else "Stopped"} if document["latest"] else {}),
        **_common(document),
        "latestRevisionName": document["latest"],
        "latestReadyRevisionName": document["latestReady"],
        "latestRevisionFqdn": addresses.fqdn(rooms, document, document["latest"]) if document["latest"] else "",
        "configuration": document["configuration"]
        | {
            "secrets": _secret_names(document),
            "ingress": ingress and {"fqdn": addresses.fqdn(rooms, document, document["name"])} | ingress,
        },
        "template": _template(document, image_type="ContainerImage"),
        "eventStreamEndpoint": addresses.app_stream(rooms, document, "eventstream"),
        **({"deploymentErrors": document["errors"]} if document["errors"] else {}),
    }
    return _resource(document, document["system"]) | {"properties": properties}


def echo(document: Document, sent: Document) -> Document:
    """The half-filled answer to a PUT (recorded: containerapp-put-create-azurefile): what the service finds out
    later is null or missing, systemData's times end in Z. `sent` is the request's `properties`."""
    configuration = sent.get("configuration") or {}
    ingress: Document = configuration.get("ingress") or {}
    if ingress:
        unknown_yet = {"fqdn": None, "exposedPort": None, "traffic": normalise.traffic(ingress.get("traffic"))}
        ingress = normalise.ingress(ingress) | unknown_yet
    properties = {
        "provisioningState": document["state"],
        **_common(document),
        "configuration": document["configuration"]
        | {
            "secrets": _secret_names(document),
            "activeRevisionsMode": configuration.get("activeRevisionsMode"),
            "targetLabel": None,
            "ingress": ingress or None,
        },
        "template": _template(document, image_type="CloudBuild")
        | {
            "revisionSuffix": document["template"]["revisionSuffix"] or None,
            "scale": (sent.get("template") or {}).get("scale"),
        },
    }
    system = document["system"]
    zoned = {name: f"{system[name]}Z" for name in ("createdAt", "lastModifiedAt")}
    return _resource(document, system | zoned) | {"properties": properties}


def _resource(document: Document, system: Document) -> Document:
    return {
        "id": document["id"],
        "name": document["name"],
        "type": TYPE,
        "location": locations.display(document["location"]),
        **({"tags": document["tags"]} if document["tags"] else {}),
        "systemData": system,
        "identity": _identity(document),
    }


def _common(document: Document) -> Document:
    return {
        "managedEnvironmentId": document["environment"],
        "environmentId": document["environment"],
        "workloadProfileName": document["profile"],
        "patchingMode": "Automatic",
        "outboundIpAddresses": _OUTBOUND,
        "customDomainVerificationId": addresses.verification_id(document["id"].split("/")[2]),
        "delegatedIdentities": [],
    }


def _identity(document: Document) -> Document:
    """Ids are made up from the resource's id, so that they stay the same."""
    identity = document["identity"]
    shown = dict(identity)
    if "SystemAssigned" in identity["type"]:
        shown["principalId"] = addresses.identity_of(document["id"], "principal")
        shown["tenantId"] = addresses.identity_of(document["id"].split("/")[2], "tenant")
    if "userAssignedIdentities" in identity:
        shown["userAssignedIdentities"] = {
            name: {
                "principalId": addresses.identity_of(name, "principal"),
                "clientId": addresses.identity_of(name, "client"),
            }
            for name in identity["userAssignedIdentities"]
        }
    return shown


def _secret_names(document: Document) -> list[Document] | None:
    """Values are never shown (recorded)."""
    items = document["configuration"]["secrets"]
    return [{"name": item["name"]} for item in items] if items else None


def _template(document: Document, *, image_type: str) -> Document:
    """`ephemeralStorage` is "" on a serverless GPU profile in a GET, 8Gi in the PUT's answer (recorded)."""
    template: Document = document["template"]
    kind = profiles.TYPES[document["profileType"].lower()]
    hidden = image_type == "ContainerImage" and kind.gpus and not kind.dedicated
    containers = [
        {**item, "imageType": image_type, "resources": item["resources"] | ({"ephemeralStorage": ""} if hidden else {})}
        for item in template["containers"]
    ]
    return template | {"containers": containers}


def revision(rooms: context.Context, owner: Document, document: Document) -> Document:
    """A revision (recorded: revisions-list-activating, revisions-list-failed)."""
    state = states.state(rooms.runtime, owner, document)
    labels = traffic.labels(owner, document)
    properties = {
        "createdTime": document["created"],
        **({"lastActiveTime": document["lastActive"]} if document["lastActive"] else {}),
        "fqdn": addresses.fqdn(rooms, owner, document["name"]),
        "template": _revision_template(document["template"]),
        "active": document["active"],
        "replicas": state.replicas,
        "trafficWeight": traffic.weight(owner, document),
        **({"labels": labels} if labels else {}),
        **({"provisioningError": state.error} if state.error else {}),
        "healthState": state.health,
        "provisioningState": state.provisioning,
        "runningState": state.running,
        **({"runningStateDetails": state.details} if state.details else {}),
    }
    return {
        "id": addresses.child(owner, f"revisions/{document['name']}"),
        "name": document["name"],
        "type": "Microsoft.App/containerapps/revisions",
        "properties": properties,
    }


def _revision_template(template: Document) -> Document:
    containers = [
        {"probes": []} | item | {"resources": {name: item["resources"][name] for name in ("cpu", "memory")}}
        for item in template["containers"]
    ]
    return template | {
        "revisionSuffix": template["revisionSuffix"] or None,
        "containers": containers,
        "scale": template["scale"] | {"cooldownPeriod": None, "pollingInterval": None},
    }


def replica(rooms: context.Context, owner: Document, document: Document, item: replicas.Replica) -> Document:
    """A replica (recorded: replicas-list)."""
    rest = f"revisions/{document['name']}/replicas/{item.name}"
    return {
        "id": addresses.child(owner, rest),
        "name": item.name,
        "type": "Microsoft.App/containerapps/revisions/replicas",
        "properties": {
            "createdTime": item.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "runningState": item.state,
            "runningStateDetails": item.details,
            "containers": [_container(rooms, owner, rest, status) for status in item.containers],
            "initContainers": [],
        },
    }


def _container(rooms: context.Context, owner: Document, rest: str, status: replicas.ContainerStatus) -> Document:
    """containerId is missing while the container waits (recorded)."""
    place = f"{rest}/containers/{status.name}"
    return {
        "name": status.name,
        **({"containerId": status.container_id} if status.container_id else {}),
        "ready": status.ready,
        "started": status.started,
        "restartCount": status.restarts,
        "runningState": status.state,
        "runningStateDetails": status.details,
        "logStreamEndpoint": addresses.app_stream(rooms, owner, f"{place}/logstream"),
        "execEndpoint": addresses.app_stream(rooms, owner, f"{place}/exec", scheme="wss"),
        "debugEndpoint": addresses.app_stream(
            rooms, owner, f"{rest}/debug?targetContainer={status.name}", scheme="wss"
        ),
    }


def secret_list(document: Document) -> wire.Reply:
    """Recorded: containerapp-listsecrets."""
    items = document["configuration"]["secrets"] or []
    return wire.Reply(200, {"value": [{"name": item["name"], "value": item["value"]} for item in items]})
