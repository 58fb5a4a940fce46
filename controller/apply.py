"""Carries out a plan's actions, independent ones side by side. A write is begun, never waited for: the next pass
sees what came of it.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controller.cloud import port
from controller.model import observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions

AT_ONCE = (Kind.GROUP, Kind.FILE_SERVICE, Kind.SHARE, Kind.STORAGE, Kind.CONTENT)
"""Kinds whose write is finished when it is answered."""

SIDE_BY_SIDE = 8
"""Files written to a share at a time."""

Pack = Callable[[Path], None]
"""Writes the content bundle to a path."""


async def apply(
    plan: actions.Plan, cloud: port.Cloud, *, account: observed.Resource | None, share: str, pack: Pack
) -> Mapping[Kind, outcome.Outcome]:
    """Run every ready action; what became of each, by kind. `pack` writes the bundle that an Upload sends."""
    outcomes = await asyncio.gather(
        *(_run(step, cloud, account=account, share=share, pack=pack) for step in plan.ready)
    )
    return {step.kind: result for step, result in zip(plan.ready, outcomes, strict=True)}


async def _run(
    step: actions.Step, cloud: port.Cloud, *, account: observed.Resource | None, share: str, pack: Pack
) -> outcome.Outcome:
    action = step.action
    assert action is not None, "only ready steps run"
    try:
        if step.kind is Kind.CONTENT:
            assert account is not None, "content is planned once its share is there"
            await _publish(action, cloud, account=account, share=share, pack=pack)
        elif action.verb == "Create":
            await cloud.create(step.kind, step.resource_id, await _revealed(action.body, cloud))
        else:
            await cloud.update(step.kind, step.resource_id, await _revealed(action.body, cloud))
    except outcome.OutcomeError as error:
        return error.outcome
    if step.kind in AT_ONCE:
        return outcome.Done(action.reason if step.kind is Kind.CONTENT else "")
    doing = "being created" if action.verb == "Create" else "being updated"
    return outcome.InProgress(Reason.PROVISIONING, f"{step.kind.label} {step.name} is {doing}")


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


async def _mirror(mirror: actions.Mirror, share: port.Share) -> None:
    """Files first, deletions last. The manifest names every file that may be ours before the first is written, so
    that nothing is left behind by a mirror that was cut short."""
    await share.write(mirror.manifest_path, _manifest(mirror.during))
    turns = asyncio.Semaphore(SIDE_BY_SIDE)

    async def put(path: str, source: Path) -> None:
        async with turns:
            await share.upload(path, source)

    await asyncio.gather(*(put(file.path, file.source) for file in mirror.put))
    for path in mirror.delete:
        await share.delete(path)
    await share.write(mirror.manifest_path, _manifest(mirror.after))


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
