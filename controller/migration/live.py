"""A live container app, and what it stands on, as desired state. It reads Azure and writes nothing; no secret's value
is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from controller.cloud import port
from controller.migration import migrated, workload
from controller.migration.migrated import Migrated, MigrationError, Told
from controller.model import identity, observed, tags
from controller.model.kinds import Kind

WORKSPACES = "Microsoft.OperationalInsights/workspaces"


async def read(cloud: port.Cloud, *, subscription: str, group: str, app: str) -> Migrated:
    """The app called `app` in that resource group. Raises MigrationError, and OutcomeError where Azure refuses."""
    told = Told(where=lambda field: f"{group}/{app}: {field}" if field else f"{group}/{app}")
    found = await cloud.read(Kind.GROUP, identity.group_id(subscription, group))
    if found is None:
        raise MigrationError([f"{group}: there is no such resource group in subscription {subscription}"])
    live = await cloud.read(Kind.APP, f"{found.id}/providers/{Kind.APP}/{app}")
    if live is None:
        raise MigrationError([f"{group}/{app}: there is no such container app in subscription {subscription}"])
    if owner := tags.find(tags.OWNER, live.tags):
        raise MigrationError([f"{group}/{app}: it belongs to {owner} already; its YAML is that inventory's"])
    running = workload.read(live.name, live.body, told)
    told.end()
    assert running is not None
    return await _migrated(cloud, found, live, running, subscription=subscription, told=told)


def only(subscriptions: Iterable[observed.Resource]) -> str:
    """The id of the only subscription that is in use. Raises MigrationError where there are several, or none."""
    usable = [one for one in subscriptions if str(one.body.get("state") or "Enabled") == "Enabled"]
    if len(usable) == 1:
        return str(usable[0].body["subscriptionId"])
    have = ", ".join(f"{one.body.get('subscriptionId')} ({one.body.get('displayName')})" for one in usable) or "none"
    raise MigrationError([f"--subscription is needed: the credential reaches {have}"])


async def _migrated(
    cloud: port.Cloud,
    group: observed.Resource,
    app: observed.Resource,
    running: workload.Found,
    *,
    subscription: str,
    told: Told,
) -> Migrated:
    environment = await _environment(cloud, group, app, told)
    told.end()
    share = await _share(cloud, environment, str(running.mount.storage), told)
    told.end()
    account = str(share.get("accountName"))
    lies, workspace = await asyncio.gather(
        cloud.read(Kind.ACCOUNT, f"{group.id}/providers/{Kind.ACCOUNT}/{account}"),
        _workspace(cloud, group, environment),
    )
    if lies is None:
        told.refuse("", f"its storage account {account} lies in another resource group; acaops has all in one")
    names = identity.Names(
        account=account,
        share=str(share.get("shareName")),
        environment=environment.name,
        storage=str(running.mount.storage),
        workspace=workspace.name if workspace else "",
    )
    _volume(running.mount, names.share, told)
    stack = migrated.Stack(
        subscription,
        group.name,
        _region(environment, lies, workspace, told=told),
        names,
        tuple(environment.properties.get("workloadProfiles") or ()),
    )
    return _documents(stack, app, running, told)


def _documents(stack: migrated.Stack, app: observed.Resource, running: workload.Found, told: Told) -> Migrated:
    """Every name is written down, so that nothing depends on defaults."""
    said = {name for name in vars(stack.names).values() if name}
    document = migrated.environment(stack, name=migrated.object_name(stack.names.environment), given=said, told=told)
    if not stack.names.workspace:
        document["spec"]["logAnalytics"] = {"workspaceName": None}
        told.warnings.append(
            "the environment's logs go to no workspace of its resource group; a new one will be made beside it, and "
            "stay empty: the environment goes on logging where it does"
        )
    spec = {"environmentRef": document["metadata"]["name"], "appName": app.name, **running.spec}
    made = migrated.document("InferenceApp", migrated.object_name(app.name), spec)
    told.warnings.append("the app has no content here: add `content` with the folder of its code to publish it")
    return migrated.finished(document, made, contents=(), told=told)


async def _environment(
    cloud: port.Cloud, group: observed.Resource, app: observed.Resource, told: Told
) -> observed.Resource:
    """The app's, which must lie in the app's resource group."""
    named = str(app.properties.get("environmentId") or app.properties.get("managedEnvironmentId") or "")
    if not named.lower().startswith(f"{group.id.lower()}/"):
        told.refuse("environmentId", f"{named} lies in another resource group; acaops has all in one")
        return observed.Resource({})
    name = named.rpartition("/")[2]
    found = await cloud.read(Kind.ENVIRONMENT, f"{group.id}/providers/{Kind.ENVIRONMENT}/{name}")
    if found is None:
        told.refuse("environmentId", f"{named} isn't there")
    return found or observed.Resource({})


async def _share(cloud: port.Cloud, environment: observed.Resource, storage: str, told: Told) -> Mapping[str, Any]:
    """Account and share of the environment storage."""
    found = await cloud.read(Kind.STORAGE, f"{environment.id}/storages/{storage}")
    share = (found.properties.get("azureFile") or {}) if found else {}
    if not share:
        told.refuse(
            "storageName", f"environment storage {storage} isn't there, or is no SMB share of a storage account"
        )
    elif str(share.get("accessMode")).lower() != "readwrite":
        told.refuse("storageName", f"environment storage {storage} is read-only; acaops mounts a share to write on")
    return share


async def _workspace(
    cloud: port.Cloud, group: observed.Resource, environment: observed.Resource
) -> observed.Resource | None:
    """The workspace of the group that the environment logs to. The list of a group's workspaces is one document."""
    logs = environment.properties.get("appLogsConfiguration") or {}
    wanted = (logs.get("logAnalyticsConfiguration") or {}).get("customerId")
    there = await cloud.read(Kind.WORKSPACE, f"{group.id}/providers/{WORKSPACES}")
    known = [observed.Resource(one) for one in (there.body.get("value") or ())] if there and wanted else []
    return next((one for one in known if one.properties.get("customerId") == wanted), None)


def _region(*resources: observed.Resource | None, told: Told) -> str | None:
    """The one all lie in; None where they don't: then none is held to one."""
    there = {migrated.region(str(one.body.get("location") or "")) for one in resources if one}
    if len(there) == 1:
        return there.pop()
    told.notes.append(f"location is left out: the resources lie in {', '.join(sorted(filter(None, there)))}")
    return None


def _volume(mount: workload.Mount, share: str, told: Told) -> None:
    """acaops calls the volume after the share, as AI Toolkit does."""
    if mount.volume == f"{share}volume":
        return
    if mount.options:
        told.refuse(
            "mountOptions", f"volume {mount.volume} has mount options {mount.options!r}, which acaops can't set"
        )
    told.notes.append(f"the share will be mounted by a volume {share}volume; {mount.volume} stays, unused")
