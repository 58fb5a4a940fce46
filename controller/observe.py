"""Reads what is there, concurrently; never writes. A 404 is a fact, a refusal to read is one too where a plan can
do without.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import structlog

from controller import health
from controller.cloud import port
from controller.model import desired, identity, observed, outcome, served, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import prune, weights
from controller.plan import stack as stack_plan

LOG_LINES = 100
"""How much of a failing container's log is kept."""

_log = structlog.get_logger()


async def ids(cloud: port.Cloud, environment: desired.Environment) -> tuple[identity.Ids, observed.Resource | None]:
    """The ids of an Environment's resources, and its resource group. Default names follow from the group's id in
    the casing Azure returns, so the group is read first."""
    spec = environment.spec
    wanted = identity.group_id(spec.subscription_id, spec.resource_group)
    group = await cloud.read(Kind.GROUP, wanted)
    group_id = group.id if group else wanted
    return identity.Ids(group_id, identity.names(environment, group_id=group_id)), group


async def stack(cloud: port.Cloud, ids: identity.Ids, group: observed.Resource | None) -> observed.Stack:
    """The resources of an Environment. Children are read once their parent is there."""
    if group is None:
        return observed.Stack()
    environment, workspace = await asyncio.gather(
        cloud.read(Kind.ENVIRONMENT, ids.environment), cloud.read(Kind.WORKSPACE, ids.workspace)
    )
    seen = await _foundation(cloud, ids, observed.Stack(group=group, workspace=workspace, environment=environment))
    if seen.account and seen.account.usable:
        return replace(seen, file_service=await cloud.read(Kind.FILE_SERVICE, ids.file_service))
    return seen


async def standing(
    cloud: port.Cloud, app: desired.InferenceApp, *, ids: identity.Ids, group: observed.Resource | None
) -> tuple[observed.Stack, observed.Resource | None]:
    """What an InferenceApp stands on, which is neither file service nor workspace, and its container app; there is none
    without its environment."""
    if group is None:
        return observed.Stack(), None
    environment = await cloud.read(Kind.ENVIRONMENT, ids.environment)
    beside = _foundation(cloud, ids, observed.Stack(group=group, environment=environment))
    if environment is None:
        return await beside, None
    name = identity.app_name(app, group_id=ids.group)
    seen, live = await asyncio.gather(beside, cloud.read(Kind.APP, ids.app(name)))
    return seen, live


async def _foundation(cloud: port.Cloud, ids: identity.Ids, seen: observed.Stack) -> observed.Stack:
    """Account, share, keys and environment storage besides."""
    account = await cloud.read(Kind.ACCOUNT, ids.account)
    seen = replace(seen, account=account)
    if account and account.usable:
        share, keys = await asyncio.gather(cloud.read(Kind.SHARE, ids.share), _keys(cloud, ids.account))
        seen = replace(seen, share=share, keys=keys)
    if seen.environment:
        name = stack_plan.storage_name(ids, seen)
        seen = replace(seen, storage=await cloud.read(Kind.STORAGE, ids.storage(name)))
    return seen


async def storages(cloud: port.Cloud, ids: identity.Ids, seen: observed.Stack) -> observed.Stack:
    """All environment storages, and where one may be left over from an earlier key, which of them are still mounted."""
    if seen.environment is None:
        return seen
    seen = replace(seen, storages=await cloud.listed(Kind.STORAGE, ids.environment))
    if not stack_plan.earlier(ids, seen):
        return seen
    return replace(seen, mounted=await _mounted(cloud, ids.environment))


async def _mounted(cloud: port.Cloud, environment_id: str) -> frozenset[str] | None:
    """Names of the environment storages that a template names: of an app anywhere in the subscription, or of a revision
    that may be activated again. None for who may not look at all of them."""
    subscription = "/".join(environment_id.split("/")[:3])
    try:
        listed = await cloud.listed(Kind.APP, subscription)
    except outcome.OutcomeError as error:
        match error.outcome:
            case outcome.Stalled(reason=Reason.FORBIDDEN):
                return None
        raise
    apps = [one for one in listed if prune.stands_in(one, environment_id)]
    revisions = await asyncio.gather(*(cloud.revisions(app.id) for app in apps))
    templates = [
        one.properties.get("template") or {} for one in (*apps, *(each for some in revisions for each in some))
    ]
    volumes = (volume for template in templates for volume in template.get("volumes") or ())
    return frozenset(str(volume.get("storageName")).lower() for volume in volumes)


async def workload(
    cloud: port.Cloud,
    app: desired.InferenceApp,
    *,
    ids: identity.Ids,
    stack: observed.Stack,
    live: observed.Resource | None,
    bundle: str,
    mirror: str,
) -> observed.Workload:
    """An InferenceApp's container app, which is `live`, its revisions, and what of its content is on the share.

    `bundle` and `mirror` are the paths on the share to look for.
    """
    seen = observed.Workload(stack, app=live)
    if live is not None:
        seen = await _rolled_out(cloud, live, seen)
    if stack.share and stack.account:
        return replace(seen, published=await _published(cloud, app, stack=stack, ids=ids, bundle=bundle, mirror=mirror))
    return seen


async def model(
    cloud: port.Cloud, wanted: served.ServedModel, *, ids: identity.Ids, stack: observed.Stack
) -> observed.Weights | None:
    """What lies in the folders of an app's model; None while the share can't be read."""
    if stack.account is None or stack.share is None or not stack.keys:
        return None
    async with cloud.share(stack.account, ids.names.share) as share:
        base = await _folder(share, wanted.base, texts=weights.BASE_TEXTS)
        adapter = await _folder(share, wanted.adapter, texts=weights.ADAPTER_TEXTS) if wanted.adapter else None
    return observed.Weights(base, adapter)


def endpoint(seen: observed.Workload) -> str | None:
    """`https://<host>` of the app, None without ingress."""
    ingress = (seen.app.properties.get("configuration") or {}).get("ingress") or {} if seen.app else {}
    return f"https://{ingress['fqdn']}" if ingress.get("fqdn") else None


async def log(cloud: port.Cloud, seen: observed.Workload, revision: observed.Resource) -> tuple[str, ...]:
    """The last lines of a container that isn't ready, of the revision's replicas as seen. Best effort: what can't be
    read tells nothing."""
    if seen.app is None:
        return ()
    for replica in seen.replicas:
        for container in replica.properties.get("containers") or ():
            if container.get("ready") or not replica.id.lower().startswith(f"{revision.id}/".lower()):
                continue
            try:
                return await cloud.logs(seen.app, replica, str(container.get("name")), tail=LOG_LINES)
            except outcome.OutcomeError as error:
                _log.info("no log to be had", revision=revision.name, message=error.outcome.message)
                return ()
    return ()


def restarts(replicas: Iterable[observed.Resource]) -> Mapping[str, int]:
    """How often the containers of each replica were restarted, by the replica's name."""
    return {
        replica.name: sum(int(one.get("restartCount") or 0) for one in replica.properties.get("containers") or ())
        for replica in replicas
    }


def address(revision: observed.Resource) -> str | None:
    """`https://<host>` of the revision alone, None without ingress."""
    host = revision.properties.get("fqdn")
    return f"https://{host}" if host else None


async def _rolled_out(cloud: port.Cloud, app: observed.Resource, seen: observed.Workload) -> observed.Workload:
    """The app's revisions, and the latest one's replicas unless it is healthy."""
    seen = replace(seen, revisions=await cloud.revisions(app.id))
    latest = seen.revision(str(app.properties.get("latestRevisionName")))
    if latest is None or health.healthy(latest):
        return seen
    return replace(seen, replicas=await cloud.replicas(latest.id))


async def _keys(cloud: port.Cloud, account_id: str) -> tuple[str, ...] | None:
    """Digests of the account's keys; None for a reader, who may not list them."""
    try:
        keys = await cloud.account_keys(account_id)
    except outcome.OutcomeError as error:
        match error.outcome:
            case outcome.Stalled(reason=Reason.FORBIDDEN):
                return None
        raise
    return tuple(tags.digest(key.get_secret_value()) for key in keys)


async def _folder(share: port.Share, path: str, *, texts: Iterable[str]) -> observed.Folder:
    files = frozenset(name for name, folder in (await share.names(path)).items() if not folder)
    read = {name: await share.read(f"{path}/{name}", most=weights.LARGEST + 1) for name in texts if name in files}
    return observed.Folder(files, {name: data for name, data in read.items() if data is not None})


async def _published(
    cloud: port.Cloud,
    app: desired.InferenceApp,
    *,
    stack: observed.Stack,
    ids: identity.Ids,
    bundle: str,
    mirror: str,
) -> observed.Published | None:
    if stack.account is None or stack.keys is None:
        return None
    async with cloud.share(stack.account, ids.names.share) as share:
        if app.spec.release == "Bundle":
            return observed.Published(release=await share.size(bundle) is not None)
        return observed.Published(mirror=_manifest(await share.read(mirror)))


def _manifest(data: bytes | None) -> Mapping[str, str] | None:
    """The mirror manifest; an unreadable one counts as none: the files are then written once more."""
    try:
        files = json.loads(data or b"null")
    except ValueError:
        return None
    return files if isinstance(files, dict) else None
