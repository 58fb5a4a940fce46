"""The steps for an Environment's resources, in the order they depend on each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from controller.model import desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, bodies, diff, steps

DEDICATED_GPU = "nc"
"""How the types of dedicated GPU profiles begin."""

UNREADABLE = outcome.Stalled(
    Reason.FORBIDDEN,
    "the account's keys can't be read (Microsoft.Storage/storageAccounts/listKeys/action)",
    slowly=True,
)


def plan(
    wanted: desired.Environment, *, owner: tags.Owner, ids: identity.Ids, seen: observed.Stack, now: datetime
) -> tuple[actions.Step, ...]:
    """Group, account, file service, share, workspace, environment, environment storage, and storages of earlier keys
    that may go. Where one of them is somebody else's, nothing is written: the rest lies in it or beside it."""
    location = wanted.spec.location or steps.location(seen.group)
    group = ("resource group", seen.group)
    account = ("storage account", seen.account)
    workspace = ("workspace", seen.workspace)
    made = (
        _group(wanted, ids=ids, seen=seen),
        steps.after(_account(wanted, owner=owner, ids=ids, seen=seen, location=location, now=now), group),
        steps.after(steps.step(Kind.FILE_SERVICE, ids.file_service, bodies.file_service(), seen.file_service), account),
        steps.after(steps.step(Kind.SHARE, ids.share, bodies.share(wanted), seen.share), account),
        steps.after(_workspace(wanted, owner=owner, ids=ids, seen=seen, location=location, now=now), group),
        steps.after(
            _environment(wanted, owner=owner, ids=ids, seen=seen, location=location, now=now), group, workspace
        ),
        _storage(ids, seen=seen),
        *_outdated(ids, seen=seen),
    )
    taken = (steps.other_owner(owner, live) for live in (seen.account, seen.workspace, seen.environment) if live)
    return steps.held(made, next(filter(None, taken), None))


def mount_key(ids: identity.Ids, seen: observed.Stack) -> tags.MountKey | None:
    """The environment storage to use now, see `tags.mount_key`."""
    recorded = tags.find(tags.STORAGE_KEY, seen.account.tags) if seen.account else None
    return tags.mount_key(ids.names.storage, recorded=recorded, keys=seen.keys)


def storage_name(ids: identity.Ids, seen: observed.Stack) -> str:
    """The name of that storage, the plain one while the keys aren't known."""
    key = mount_key(ids, seen)
    return key.storage if key else ids.names.storage


def _group(wanted: desired.Environment, *, ids: identity.Ids, seen: observed.Stack) -> actions.Step:
    made = steps.step(Kind.GROUP, ids.group, bodies.group(wanted), seen.group)
    if seen.group is not None or wanted.spec.location is not None:
        return made
    message = f"resource group {wanted.spec.resource_group} doesn't exist; set spec.location to have it created"
    return steps.block(made, outcome.Stalled(Reason.INVALID_DESIRED_STATE, message, slowly=True))


def _account(
    wanted: desired.Environment,
    *,
    owner: tags.Owner,
    ids: identity.Ids,
    seen: observed.Stack,
    location: str | None,
    now: datetime,
) -> actions.Step:
    """The account; once the environment storage is there, with a record of the key it was made with."""
    key = mount_key(ids, seen) if seen.storage else None
    body = bodies.account(wanted, location=location, key=key)
    made = steps.owned(Kind.ACCOUNT, ids.account, body, seen.account, owner=owner)
    live = seen.account
    if live is None or live.properties.get("primaryEndpoints"):
        return steps.again(made, live, update={"tags": dict(live.tags)} if live else {}, now=now)
    return steps.again(made, live, update={}, create=body.create, now=now)


def _workspace(
    wanted: desired.Environment,
    *,
    owner: tags.Owner,
    ids: identity.Ids,
    seen: observed.Stack,
    location: str | None,
    now: datetime,
) -> actions.Step:
    """One that failed is created again, whether it worked once or not: nothing tells, as even its customerId is there
    from the beginning (recorded: loganalytics-put-create). What others set of it is kept."""
    body = bodies.workspace(wanted, location=location)
    live = seen.workspace
    made = steps.owned(Kind.WORKSPACE, ids.workspace, body, live, owner=owner)
    there = live.properties if live else {}
    kept = {name: there[name] for name in body.create["properties"] if there.get(name)}
    create = {**body.create, "properties": {**body.create["properties"], **kept}}
    return steps.again(made, live, update={}, create=create, now=now)


def _environment(
    wanted: desired.Environment,
    *,
    owner: tags.Owner,
    ids: identity.Ids,
    seen: observed.Stack,
    location: str | None,
    now: datetime,
) -> actions.Step:
    """An environment that exists is never patched for a tag alone, so an adopted one gets none. The record of what is
    owned rides along when it is created or its profiles are updated."""
    customer = seen.workspace.properties.get("customerId") if seen.workspace else None
    body = bodies.managed_environment(wanted, location=location, workspace_id=ids.workspace, customer_id=customer)
    if seen.environment is None:
        return steps.owned(Kind.ENVIRONMENT, ids.environment, body, None, owner=owner)
    made = steps.step(Kind.ENVIRONMENT, ids.environment, body, seen.environment)
    made = steps.block(made, _profile_conflict(wanted, seen.environment))
    made = replace(made, blocked=steps.other_owner(owner, seen.environment) or made.blocked)
    if made.action is None:
        return _environment_again(made, body, seen.environment, now=now)
    noted = {**seen.environment.tags, **tags.spelled(body.note, seen.environment.tags)}
    reason = steps.changed(body, seen.environment)
    return replace(made, action=replace(made.action, reason=reason, body={**made.action.body, "tags": noted}))


def _environment_again(
    made: actions.Step, body: bodies.Wanted, live: observed.Resource, *, now: datetime
) -> actions.Step:
    """A failed environment that has an address once worked, and still does (recorded: env_workload_profiles_delete):
    its profiles are sent again. One that has none never came to be."""
    if not live.properties.get("staticIp"):
        return steps.again(made, live, update={}, create=body.create, now=now)
    wanted, there = body.owned["properties"]["workloadProfiles"], live.properties.get("workloadProfiles")
    profiles: list[Any] = diff.merged(wanted, there, key="workloadProfiles")
    return steps.again(made, live, update={"properties": {"workloadProfiles": profiles}} if profiles else {}, now=now)


def _profile_conflict(wanted: desired.Environment, live: observed.Resource) -> outcome.Stalled | None:
    """Dedicated GPU profiles exist from an environment's creation or never; serverless ones can be added."""
    there = {str(profile.get("name")).lower(): profile for profile in live.properties.get("workloadProfiles") or ()}
    for profile in wanted.spec.container_apps.workload_profiles:
        found = there.get(profile.name.lower())
        if found is None and profile.type.lower().startswith(DEDICATED_GPU):
            have = ", ".join(f"{one.get('name')} ({one.get('workloadProfileType')})" for one in there.values())
            message = (
                f"environment {live.name} has no workload profile {profile.name} ({profile.type}), and a dedicated GPU "
                f"profile can't be added after creation; it has: {have or 'none'}"
            )
            return outcome.Stalled(Reason.IMMUTABLE_FIELD, message)
        if found and str(found.get("workloadProfileType")).lower() != profile.type.lower():
            kind = found.get("workloadProfileType")
            message = f"workload profile {profile.name} of {live.name} is {kind}, wanted {profile.type}"
            return outcome.Stalled(Reason.IMMUTABLE_FIELD, message)
    return None


def _storage(ids: identity.Ids, *, seen: observed.Stack) -> actions.Step:
    key = mount_key(ids, seen)
    body = bodies.storage(ids.names, account_id=ids.account, key=key.key if key else "")
    made = steps.step(Kind.STORAGE, ids.storage(storage_name(ids, seen)), body, seen.storage)
    made = steps.after(
        made, ("environment", seen.environment), ("storage account", seen.account), ("file share", seen.share)
    )
    return steps.block(made, UNREADABLE) if made.ready and seen.keys is None else made


def _outdated(ids: identity.Ids, *, seen: observed.Stack) -> Iterator[actions.Step]:
    """Environment storages made with earlier keys, to be removed: where the current one is there and on record, and no
    app or listed revision mounts them. One still mounted is left for a later pass, which is no wait of the object's."""
    key = mount_key(ids, seen)
    if seen.mounted is None or not (seen.account and seen.storage and seen.storage.usable and key):
        return
    if tags.find(tags.STORAGE_KEY, seen.account.tags) != str(key):
        return
    for storage in earlier(ids, seen):
        if storage.name.lower() in seen.mounted:
            continue
        action = actions.Action("Delete", "no listed revision mounts it")
        made = actions.Step(Kind.STORAGE, storage.name, ids.storage(storage.name), action)
        yield steps.after(made, ("environment", seen.environment))


def earlier(ids: identity.Ids, seen: observed.Stack) -> list[observed.Resource]:
    """Environment storages made with earlier keys: ours, but for the current one."""
    current = storage_name(ids, seen).lower()
    return [one for one in seen.storages if one.name.lower() != current and _ours(ids.names, one)]


def _ours(names: identity.Names, storage: observed.Resource) -> bool:
    """Named as ours, and of our share: names alone could be a coincidence."""
    file = storage.properties.get("azureFile") or {}
    ours = (str(file.get("accountName")), str(file.get("shareName"))) == (names.account, names.share)
    return ours and re.fullmatch(rf"{re.escape(names.storage)}(-[0-9a-f]{{8}})?", storage.name.lower()) is not None
