"""Names made from other names: revisions, host names in an environment's domain, the addresses of streams, ids that a
service hands out."""

from __future__ import annotations

import hashlib
import secrets
import string
import uuid
from collections.abc import Callable

from infra.local_azure.apps import context
from infra.local_azure.apps.context import Document


def new_revision(app: Document, taken: Callable[[str], bool]) -> str:
    """The suffix asked for; else random for the first, a counter for later ones (recorded)."""
    suffix = app["template"]["revisionSuffix"]
    if suffix:
        return f"{app['name']}--{suffix}"
    if not app["counter"]:
        letters = string.ascii_lowercase + string.digits
        return f"{app['name']}--{''.join(secrets.choice(letters) for _ in range(7))}"
    number = app["counter"]
    while taken(f"{app['name']}--{number:07d}"):
        number += 1
    return f"{app['name']}--{number:07d}"


def domain(rooms: context.Context, environment: Document) -> str:
    """`<environment>.localhost:<port>`. Azure's are `<words>-<hash>.<region>.azurecontainerapps.io`."""
    return f"{environment['domain']}.localhost:{rooms.port}"


def fqdn(rooms: context.Context, app: Document, name: str) -> str:
    """`<name>.<domain>`, with `.internal` for an app that isn't external; "" without ingress (recorded)."""
    ingress = app["configuration"]["ingress"]
    environment = rooms.documents.get(app["environment"])
    if ingress is None or environment is None:
        return ""
    return f"{name}{'' if ingress['external'] else '.internal'}.{domain(rooms, environment)}"


def environment_stream(rooms: context.Context, environment: Document) -> str:
    """Its event stream, on `<loc>.azurecontainerapps.dev` on Azure."""
    group = context.group_id(environment)
    return f"https://{rooms.authority()}{group}/managedEnvironments/{environment['name']}/eventstream"


def app_stream(rooms: context.Context, app: Document, rest: str, *, scheme: str = "https") -> str:
    """An address below the app on that host, e.g. `rest` "eventstream"."""
    return f"{scheme}://{rooms.authority()}{_group(app)}/containerApps/{app['name']}/{rest}"


def child(app: Document, rest: str) -> str:
    """The id of a revision or replica: unlike the app's own, with `containerApps` (recorded)."""
    return f"{_group(app)}{context.PROVIDER}/containerApps/{app['name']}/{rest}"


def _group(app: Document) -> str:
    return str(app["id"]).partition("/providers/")[0]


def verification_id(subscription: str) -> str:
    """customDomainVerificationId: one per subscription (recorded: equal across its apps and environments)."""
    return hashlib.sha256(f"verification {subscription.lower()}".encode()).hexdigest().upper()


def identity_of(resource_id: str, part: str) -> str:
    """A stable GUID for a principal or client of the resource."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{part} {resource_id.lower()}"))
