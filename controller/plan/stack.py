"""The steps for an Environment's resources, in the order they depend on each other."""

from __future__ import annotations

from dataclasses import replace

from controller.model import desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, bodies, steps

DEDICATED_GPU = "nc"
"""How the types of dedicated GPU profiles begin."""

UNREADABLE = outcome.Stalled(
    Reason.FORBIDDEN,
    "the account's keys can't be read (Microsoft.Storage/storageAccounts/listKeys/action)",
    slowly=True,
)


def plan(
    wanted: desired.Environment, *, owner: tags.Owner, ids: identity.Ids, seen: observed.Stack
) -> tuple[actions.Step, ...]:
    """Group, account, file service, share, workspace, environment, environment storage. Where one of them is somebody
    else's, nothing is written: the rest lies in it or beside it."""
    location = wanted.spec.location or steps.location(seen.group)
    group = ("resource group", seen.group)
    account = ("storage account", seen.account)
    workspace = ("workspace", seen.workspace)
    made = (
        _group(wanted, ids=ids, seen=seen),
        steps.after(_account(wanted, owner=owner, ids=ids, seen=seen, location=location), group),
        steps.after(steps.step(Kind.FILE_SERVICE, ids.file_service, bodies.file_service(), seen.file_service), account),
        steps.after(steps.step(Kind.SHARE, ids.share, bodies.share(wanted), seen.share), account),
        steps.after(_workspace(wanted, owner=owner, ids=ids, seen=seen, location=location), group),
        steps.after(_environment(wanted, owner=owner, ids=ids, seen=seen, location=location), group, workspace),
        _storage(ids, seen=seen),
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
    wanted: desired.Environment, *, owner: tags.Owner, ids: identity.Ids, seen: observed.Stack, location: str | None
) -> actions.Step:
    """The account; once the environment storage is there, with a record of the key it was made with."""
    body = bodies.account(wanted, location=location)
    key = mount_key(ids, seen)
    if seen.storage is not None and key is not None:
        body = replace(body, tags={**body.tags, tags.STORAGE_KEY: str(key)})
    return steps.owned(Kind.ACCOUNT, ids.account, body, seen.account, owner=owner)


def _workspace(
    wanted: desired.Environment, *, owner: tags.Owner, ids: identity.Ids, seen: observed.Stack, location: str | None
) -> actions.Step:
    body = bodies.workspace(wanted, location=location)
    return steps.owned(Kind.WORKSPACE, ids.workspace, body, seen.workspace, owner=owner)


def _environment(
    wanted: desired.Environment, *, owner: tags.Owner, ids: identity.Ids, seen: observed.Stack, location: str | None
) -> actions.Step:
    """An environment that exists is never patched for a tag alone, so an adopted one gets none."""
    customer = seen.workspace.properties.get("customerId") if seen.workspace else None
    body = bodies.managed_environment(wanted, location=location, workspace_id=ids.workspace, customer_id=customer)
    if seen.environment is None:
        return steps.owned(Kind.ENVIRONMENT, ids.environment, body, None, owner=owner)
    made = steps.step(Kind.ENVIRONMENT, ids.environment, body, seen.environment)
    made = steps.block(made, _profile_conflict(wanted, seen.environment))
    return replace(made, blocked=steps.other_owner(owner, seen.environment) or made.blocked)


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
