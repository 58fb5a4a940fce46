"""Carries out a plan's actions, independent ones side by side. A write is begun, never waited for: the next pass
sees what came of it.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog

from controller.cloud import port
from controller.model import content, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, steps, template
from controller.telemetry import log as logs

log = structlog.get_logger()

AT_ONCE = (Kind.GROUP, Kind.FILE_SERVICE, Kind.SHARE, Kind.STORAGE, Kind.CONTENT)
"""Kinds whose writes are finished when they are answered."""

UPDATED_AT_ONCE = (Kind.ACCOUNT, Kind.WORKSPACE)
"""Kinds whose updates are, though their creation takes its time."""

REGISTERING_SECONDS = 10.0
"""The pause before a write is repeated whose resource provider was just registered."""

KEPT = 10
"""Bundles that stay on the share although no revision names them."""

SIDE_BY_SIDE = 8
"""Files written to a share at a time."""

PLAIN = (steps.MISSING, steps.CHANGED)
"""Reasons that go without saying."""

Pack = Callable[[Path], None]
"""Writes the content bundle to a path."""


async def apply(
    plan: actions.Plan, cloud: port.Cloud, *, account: observed.Resource | None, share: str, pack: Pack
) -> Mapping[str, outcome.Outcome]:
    """Run every ready action; what became of each, by the step's resource id. `pack` writes the bundle that an Upload
    sends. No action is still under way when this returns or is cancelled."""
    async with asyncio.TaskGroup() as group:
        running = {
            step.resource_id: group.create_task(_run(step, cloud, account=account, share=share, pack=pack))
            for step in plan.ready
        }
    return {resource_id: task.result() for resource_id, task in running.items()}


async def _run(
    step: actions.Step, cloud: port.Cloud, *, account: observed.Resource | None, share: str, pack: Pack
) -> outcome.Outcome:
    action = step.action
    assert action is not None, "only ready steps run"
    try:
        if step.kind is Kind.CONTENT:
            assert account is not None, "content is planned once its share is there"
            await _publish(action, cloud, account=account, share=share, pack=pack)
        elif action.verb == "Delete":
            await cloud.delete(step.kind, step.resource_id)
        elif action.verb == "Activate":
            await cloud.activate(step.resource_id)
        elif action.verb == "Deactivate":
            await cloud.deactivate(step.resource_id)
        elif action.verb == "Create":
            await cloud.create(step.kind, step.resource_id, await _revealed(action.body, cloud))
        else:
            await cloud.update(step.kind, step.resource_id, await _revealed(action.body, cloud))
    except outcome.OutcomeError as error:
        return await _registered(step, error.outcome, cloud)
    except Exception as error:
        # The steps beside this one go on.
        return logs.unforeseen("step failed", error, step=step.kind.label, resource=step.resource_id)
    return _begun(step, action)


def _begun(step: actions.Step, action: actions.Action) -> outcome.Outcome:
    if step.kind in AT_ONCE or (step.kind in UPDATED_AT_ONCE and action.verb == "Update"):
        return outcome.Done(action.reason if step.kind is Kind.CONTENT else "")
    if action.verb in ("Activate", "Deactivate"):
        doing = "started" if action.verb == "Activate" else "stopped"
        return outcome.InProgress(Reason.ROLLING_OUT, f"revision {step.name} is being {doing}: {action.reason}")
    doing = "being created" if action.verb == "Create" else "being updated"
    why = "" if action.reason in PLAIN else f": {action.reason}"
    return outcome.InProgress(Reason.PROVISIONING, f"{step.kind.label} {step.name} is {doing}{why}")


async def _registered(step: actions.Step, verdict: outcome.Outcome, cloud: port.Cloud) -> outcome.Outcome:
    """A write refused because the subscription doesn't use the resource's provider yet: the provider is registered,
    which takes a minute or two, and the write is repeated then. Any other verdict stays."""
    match verdict:
        case outcome.Stalled(reason=Reason.NOT_REGISTERED):
            namespace, subscription = step.kind.partition("/")[0], step.resource_id.split("/")[2]
        case _:
            return verdict
    try:
        await cloud.register(namespace, subscription)
    except outcome.OutcomeError as error:
        return error.outcome
    log.info("resource provider registered", namespace=namespace, subscription=subscription)
    said = f"the resource provider {namespace} is being registered in subscription {subscription}"
    return outcome.Waiting(Reason.REGISTERING, said, REGISTERING_SECONDS)


async def _publish(
    action: actions.Action, cloud: port.Cloud, *, account: observed.Resource, share: str, pack: Pack
) -> None:
    async with cloud.share(account, share) as session:
        if action.mirror is not None:
            await _mirror(action.mirror, session)
            return
        with tempfile.TemporaryDirectory(prefix="acaops-") as folder:
            packed = Path(folder) / "bundle.tar.gz"
            await asyncio.to_thread(pack, packed)
            await session.upload(action.path, packed)
        await _tidy(action, session)


async def _tidy(action: actions.Action, share: port.Share) -> None:
    """Remove bundles that no listed revision names, but for the latest ones. Best effort: what stays is seen again."""
    folder = posixpath.dirname(action.path)
    try:
        written = await share.written(folder)
        latest = sorted(written, key=lambda name: written[name], reverse=True)
        for name in latest[KEPT:]:
            if template.bundle_digest(name) not in (None, *action.keep):
                await share.delete(posixpath.join(folder, name))
    except outcome.OutcomeError as error:
        log.warning("old bundles stay for now", folder=folder, message=error.outcome.message)


async def _mirror(mirror: actions.Mirror, share: port.Share) -> None:
    """Files first, deletions last. The manifest names every file that may be ours before the first is written, so
    that nothing is left behind by a mirror that was cut short."""
    await share.write(mirror.manifest_path, _manifest(mirror.during))
    await _put(mirror.put, share)
    for path in mirror.delete:
        await share.delete(path)
    for folder in sorted({posixpath.dirname(path) for path in mirror.delete}, reverse=True):
        await share.prune(folder)
    await share.write(mirror.manifest_path, _manifest(mirror.after))


async def _put(files: Iterable[content.File], share: port.Share) -> None:
    """All files, some at a time; the first that fails stops the others, and none is under way afterwards: it could
    overtake the next mirror."""
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def put(file: content.File) -> None:
        async with turns:
            await share.upload(file.path, file.source)

    try:
        async with asyncio.TaskGroup() as group:
            for file in files:
                group.create_task(put(file))
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    else:
        return
    raise failure


def _manifest(files: Mapping[str, str]) -> bytes:
    return json.dumps(files, indent=0, sort_keys=True).encode()


async def _revealed(value: Any, cloud: port.Cloud) -> Any:
    """`value` with every lookup replaced by the secret it stands for, still wrapped."""
    if isinstance(value, actions.Lookup):
        return await _look_up(value, cloud)
    if isinstance(value, Mapping):
        return {key: await _revealed(item, cloud) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [await _revealed(item, cloud) for item in value]
    return value


async def _look_up(lookup: actions.Lookup, cloud: port.Cloud) -> object:
    if lookup.source == "workspace-key":
        return await cloud.workspace_key(lookup.resource_id)
    if lookup.source == "app-secret":
        secrets = await cloud.app_secrets(lookup.resource_id)
        if lookup.name not in secrets:
            raise outcome.OutcomeError(
                outcome.Transient(Reason.SECRET_NOT_FOUND, f"secret {lookup.name} went away while it was re-sent")
            )
        return secrets[lookup.name]
    for key in await cloud.account_keys(lookup.resource_id):
        if tags.digest(key.get_secret_value()) == lookup.name:
            return key
    raise outcome.OutcomeError(outcome.Transient(Reason.CONFLICT, "the account's keys changed while they were read"))
