"""The steps for an Environment: in order, held back by what they need, and quiet once all is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.model import desired, identity, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner
from tests.unit import answers
from tests.unit.plan import wanted

ALL = (Kind.GROUP, Kind.ACCOUNT, Kind.FILE_SERVICE, Kind.SHARE, Kind.WORKSPACE, Kind.ENVIRONMENT, Kind.STORAGE)


def planned(
    one: desired.Environment, seen: observed.Stack, *, scope: planner.Scope = wanted.SCOPE
) -> dict[Kind, actions.Step]:
    plan = planner.environment(one, scope=scope, ids=wanted.ids(one), seen=seen, now=wanted.NOW)
    assert tuple(step.kind for step in plan.steps) == ALL
    return {step.kind: step for step in plan.steps}


def actions_of(steps: dict[Kind, actions.Step]) -> dict[Kind, actions.Action]:
    return {kind: step.action for kind, step in steps.items() if step.action}


def ready(steps: dict[Kind, actions.Step]) -> set[Kind]:
    return {kind for kind, step in steps.items() if step.ready}


def without_record(action: actions.Action) -> dict[str, str]:
    """The tags an action sends, but for the digest of what is owned."""
    return {name: value for name, value in action.body["tags"].items() if name != tags.APPLIED}


def lacking(seen: observed.Stack, *parts: str) -> observed.Stack:
    return replace(seen, **dict.fromkeys(parts))


# What is missing


def test_nothing_there_begins_with_the_group() -> None:
    """Everything is planned; only what needs nothing may begin."""
    steps = planned(wanted.environment(), observed.Stack())

    assert {kind: action.verb for kind, action in actions_of(steps).items()} == dict.fromkeys(ALL, "Create")
    assert ready(steps) == {Kind.GROUP}
    assert steps[Kind.GROUP].action == actions.Action("Create", "missing", body={"location": "westus3"})
    waiting = steps[Kind.ENVIRONMENT].blocked
    assert waiting == outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "waiting for the resource group")


@pytest.mark.parametrize(
    ("absent", "now"),
    [
        (("account", "file_service", "share", "workspace", "environment", "storage"), {Kind.ACCOUNT, Kind.WORKSPACE}),
        (("share", "storage"), {Kind.SHARE}),
        (("file_service",), {Kind.FILE_SERVICE}),
        (("environment", "storage"), {Kind.ENVIRONMENT}),
        (("share", "environment", "storage"), {Kind.SHARE, Kind.ENVIRONMENT}),
        (("storage",), {Kind.STORAGE}),
    ],
)
def test_what_is_missing_is_made_once_its_needs_are_there(absent: tuple[str, ...], now: set[Kind]) -> None:
    """Independent ones side by side."""
    assert ready(planned(wanted.environment(), lacking(wanted.stack(), *absent))) == now


@pytest.mark.parametrize(("state", "now"), [("Waiting", set()), ("Failed", set()), ("Succeeded", {Kind.STORAGE})])
def test_a_need_must_be_usable(state: str, now: set[Kind]) -> None:
    """There isn't enough."""
    seen = lacking(wanted.stack(), "storage")
    assert seen.environment is not None
    lately = observed.Resource({**seen.environment.body, "systemData": {"lastModifiedAt": wanted.NOW.isoformat()}})
    seen = replace(seen, environment=wanted.with_properties(lately, provisioningState=state))

    assert ready(planned(wanted.environment(), seen)) == now


def test_an_environment_is_created_with_logs_and_profiles() -> None:
    """The workspace's key is looked up when the action runs; Consumption is asked for as the service would add it."""
    seen = lacking(wanted.stack(), "environment", "storage")
    one = wanted.environment(containerApps=wanted.profiles(wanted.PROFILE, wanted.T4), tags={"team": "chat"})

    body = actions_of(planned(one, seen))[Kind.ENVIRONMENT].body

    assert body["properties"] == {
        "appLogsConfiguration": {
            "destination": "log-analytics",
            "logAnalyticsConfiguration": {
                "customerId": answers.CUSTOMER,
                "sharedKey": actions.Lookup("workspace-key", wanted.ids().workspace),
            },
        },
        "workloadProfiles": [
            {"name": "Consumption", "workloadProfileType": "Consumption"},
            {"name": "GPU", "workloadProfileType": "NC24-A100", "minimumCount": 0, "maximumCount": 2},
            {"name": "T4", "workloadProfileType": "Consumption-GPU-NC8as-T4"},
        ],
        "zoneRedundant": False,
    }
    assert body["tags"] == {
        "team": "chat",
        tags.OWNER: "prod/Environment/gpu-west",
        tags.ORIGIN: tags.CREATED,
        tags.APPLIED: body["tags"][tags.APPLIED],
    }


def test_a_listed_consumption_profile_is_not_asked_for_twice() -> None:
    """It may be listed, and need not."""
    one = wanted.environment(containerApps=wanted.profiles({"name": "Consumption", "type": "Consumption"}))

    body = actions_of(planned(one, observed.Stack()))[Kind.ENVIRONMENT].body

    assert body["properties"]["workloadProfiles"] == [{"name": "Consumption", "workloadProfileType": "Consumption"}]


def test_a_group_is_not_made_without_a_location() -> None:
    """Where it lies is the user's to say."""
    steps = planned(wanted.environment(location=None), observed.Stack())

    blocked = steps[Kind.GROUP].blocked
    assert isinstance(blocked, outcome.Stalled)
    assert (blocked.reason, "set spec.location" in blocked.message) == (Reason.INVALID_DESIRED_STATE, True)


def test_without_a_location_the_groups_counts() -> None:
    """For what is made in it."""
    group = observed.Resource({"id": wanted.GROUP_ID, "name": "rg-phi3", "location": "eastus"})
    steps = planned(wanted.environment(location=None), observed.Stack(group=group))

    assert actions_of(steps)[Kind.ACCOUNT].body["location"] == "eastus"
    assert steps[Kind.GROUP].action is None


# What is there


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"tags": {"team": "chat"}},
        {
            "storage": {
                "accountName": "phi3storage",
                "shareName": "phi3share",
                "shareQuotaGiB": 100,
                "sku": "Premium_LRS",
            }
        },
        {"containerApps": wanted.profiles(wanted.PROFILE, wanted.T4)},
        {"containerApps": wanted.profiles({**wanted.T4, "type": "Consumption-GPU-NC8AS-T4"})},
        {"containerApps": wanted.profiles()},
    ],
)
def test_what_was_made_needs_no_second_write(spec: dict[str, Any]) -> None:
    """Apply twice is zero writes, on the service's own answers to what was sent."""
    one = wanted.environment(**spec)

    steps = planned(one, wanted.stack(one))

    assert actions_of(steps) == {}
    assert {step.blocked for step in steps.values()} == {None}


def test_a_stack_made_by_hand_is_adopted() -> None:
    """Tags on account and workspace, and no write for the environment: it is never patched for a tag alone."""
    seen = wanted.stack()
    assert seen.account
    assert seen.workspace
    assert seen.environment
    bare: dict[str, Any] = {
        "account": observed.Resource({**seen.account.body, "tags": {"hand": "made"}}),
        "workspace": observed.Resource({k: v for k, v in seen.workspace.body.items() if k != "tags"}),
        "environment": observed.Resource({**seen.environment.body, "tags": None}),
    }

    steps = planned(wanted.environment(), replace(seen, **bare))

    ours = {tags.OWNER: "prod/Environment/gpu-west", tags.ORIGIN: tags.ADOPTED}
    facts = {tags.STORAGE_KEY: f"phi3mount:{wanted.KEYS[0]}", tags.DELETION: "Retain"}
    found = actions_of(steps)
    assert {kind: (action.reason, without_record(action)) for kind, action in found.items()} == {
        Kind.ACCOUNT: ("adopted", {"hand": "made", **ours, **facts}),
        Kind.WORKSPACE: ("adopted", ours),
    }
    assert ready(steps) == {Kind.ACCOUNT, Kind.WORKSPACE}


def test_defaults_are_not_laid_on_what_exists() -> None:
    """A share's quota and an account's redundancy are owned where the YAML names them."""
    seen = wanted.stack()
    assert seen.account
    assert seen.share
    there = replace(
        seen,
        account=observed.Resource({**seen.account.body, "sku": {"name": "Standard_ZRS"}}),
        share=wanted.with_properties(seen.share, shareQuota=5),
    )
    names = {"accountName": "phi3storage", "shareName": "phi3share"}

    assert actions_of(planned(wanted.environment(), there)) == {}
    grown = actions_of(planned(wanted.environment(storage={**names, "shareQuotaGiB": 2048}), there))
    assert {kind: (action.body, action.changes) for kind, action in grown.items()} == {
        Kind.SHARE: (
            {"properties": {"shareQuota": 2048}},
            (actions.Change("properties.shareQuota", 5, 2048),),
        )
    }


def test_a_serverless_profile_is_added_with_the_whole_array() -> None:
    """What others added stays; nothing but the profiles is sent, with the record of them in the tags."""
    seen = wanted.stack(
        wanted.environment(
            containerApps=wanted.profiles({"name": "cpu", "type": "D4", "minimumCount": 1, "maximumCount": 1})
        )
    )
    one = wanted.environment(containerApps=wanted.profiles(wanted.T4))

    action = planned(one, seen)[Kind.ENVIRONMENT].ready

    assert action is not None
    assert seen.environment is not None
    assert seen.environment.tags.items() - action.body["tags"].items() == {
        (tags.APPLIED, seen.environment.tags[tags.APPLIED])
    }
    assert {key: part for key, part in action.body.items() if key != "tags"} == {
        "properties": {
            "workloadProfiles": [
                {"name": "Consumption", "workloadProfileType": "Consumption"},
                {"name": "cpu", "workloadProfileType": "D4", "minimumCount": 1, "maximumCount": 1},
                {"name": "T4", "workloadProfileType": "Consumption-GPU-NC8as-T4"},
            ]
        }
    }
    assert [change.path for change in action.changes] == ["properties.workloadProfiles[T4]"]


def test_counts_of_a_profile_can_change() -> None:
    """A dedicated GPU profile that is there is only scaled."""
    one = wanted.environment(containerApps=wanted.profiles({**wanted.PROFILE, "name": "gpu", "maximumCount": 3}))

    action = planned(one, wanted.stack())[Kind.ENVIRONMENT].ready

    assert action is not None
    assert action.changes == (actions.Change("properties.workloadProfiles[gpu].maximumCount", 2, 3),)
    assert action.body["properties"]["workloadProfiles"][1]["name"] == "GPU"


# Whose change it is


@pytest.mark.parametrize("part", ["account", "workspace"])
def test_a_tag_somebody_changed_is_drift(part: str) -> None:
    """While the record of what is owned is still the wanted one; a tag the YAML changes isn't."""
    one = wanted.environment(tags={"team": "chat"})
    seen = wanted.stack(one)
    edited: dict[str, Any] = {part: wanted.with_tags(getattr(seen, part), team="other")}
    kind = {"account": Kind.ACCOUNT, "workspace": Kind.WORKSPACE}[part]

    assert actions_of(planned(one, replace(seen, **edited)))[kind].reason == "drift"
    assert actions_of(planned(wanted.environment(tags={"team": "code"}), seen))[kind].reason == "changed"
    assert actions_of(planned(wanted.environment(tags={"team": "code"}), replace(seen, **edited)))[kind].reason == (
        "changed"
    )


def test_profiles_somebody_changed_are_drift() -> None:
    """The record stands on the environment, and rides along with an update of them."""
    one = wanted.environment(containerApps=wanted.profiles({**wanted.PROFILE, "maximumCount": 3}))
    seen = wanted.stack()
    assert seen.environment is not None

    changed = actions_of(planned(one, seen))[Kind.ENVIRONMENT]
    after = observed.Resource({**seen.environment.body, "tags": changed.body["tags"]})
    drifted = actions_of(planned(one, replace(seen, environment=after)))[Kind.ENVIRONMENT]

    assert (changed.reason, drifted.reason) == ("changed", "drift")
    assert changed.body["tags"].keys() == seen.environment.tags.keys()


def test_the_deletion_policy_is_on_record() -> None:
    """On the account, for when the YAML is gone; a new policy is written at once."""
    action = planned(wanted.environment(deletionPolicy="Delete"), wanted.stack())[Kind.ACCOUNT].ready

    assert action is not None
    assert action.changes == (actions.Change("tags.acaops-deletion", "Retain", "Delete"),)
    assert action.reason == "changed"


# What can't be changed


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        ({"location": "eastus"}, Kind.ACCOUNT, ("location is 'westus3', wanted 'eastus'",)),
        ({"location": "eastus"}, Kind.WORKSPACE, ("'westus3'", "'eastus'")),
        ({"location": "eastus"}, Kind.ENVIRONMENT, ("'West US 3'", "'eastus'")),
        (
            {"storage": {"accountName": "phi3storage", "shareName": "phi3share", "sku": "Standard_GRS"}},
            Kind.ACCOUNT,
            ("sku.name is 'Standard_LRS', wanted 'Standard_GRS'",),
        ),
        (
            {"containerApps": wanted.profiles({**wanted.PROFILE, "name": "BIG", "type": "NC96-A100"})},
            Kind.ENVIRONMENT,
            ("no workload profile BIG (NC96-A100)", "GPU (NC24-A100)", "Consumption (Consumption)"),
        ),
        (
            {"containerApps": wanted.profiles({**wanted.PROFILE, "type": "NC48-A100"})},
            Kind.ENVIRONMENT,
            ("GPU of phi3-env is NC24-A100, wanted NC48-A100",),
        ),
    ],
)
def test_an_immutable_difference_stops_the_step(spec: dict[str, Any], kind: Kind, words: tuple[str, ...]) -> None:
    """With both values, and without an action that could run."""
    step = planned(wanted.environment(**spec), wanted.stack())[kind]

    assert isinstance(step.blocked, outcome.Stalled)
    assert step.blocked.reason == Reason.IMMUTABLE_FIELD
    assert all(word in step.blocked.message for word in words), step.blocked.message
    assert step.ready is None


def test_an_environment_without_profiles_has_none() -> None:
    """One of the old kind, which no profile can be added to."""
    seen = wanted.stack()
    assert seen.environment is not None
    seen = replace(seen, environment=wanted.with_properties(seen.environment, workloadProfiles=None))

    blocked = planned(wanted.environment(), seen)[Kind.ENVIRONMENT].blocked

    assert isinstance(blocked, outcome.Stalled)
    assert "it has: none" in blocked.message


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"accountName": "other"}, "accountName is 'other', wanted 'phi3storage'"),
        ({"shareName": "other"}, "shareName is 'other', wanted 'phi3share'"),
        ({"accessMode": "ReadOnly"}, "accessMode is 'ReadOnly', wanted 'ReadWrite'"),
    ],
)
def test_a_storage_of_something_else_stops(changed: dict[str, str], says: str) -> None:
    """The service answers 200 to a PUT and keeps what was there."""
    seen = wanted.stack()
    assert seen.storage is not None
    storage = wanted.with_properties(seen.storage, azureFile=changed)

    step = planned(wanted.environment(), replace(seen, storage=storage))[Kind.STORAGE]

    assert isinstance(step.blocked, outcome.Stalled)
    assert step.blocked.reason == Reason.IMMUTABLE_FIELD
    assert says in step.blocked.message


@pytest.mark.parametrize("spec", [{}, {"containerApps": wanted.profiles(wanted.PROFILE, wanted.T4)}])
def test_an_operation_in_flight_holds_the_step(spec: dict[str, Any]) -> None:
    """One write at a time; since when tells how often to look."""
    seen = wanted.stack()
    assert seen.environment is not None
    busy = wanted.with_properties(seen.environment, provisioningState="Updating")

    step = planned(wanted.environment(**spec), replace(seen, environment=busy))[Kind.ENVIRONMENT]

    message = "managedEnvironment phi3-env is Updating"
    since = observed.moment(answers.CREATED)
    assert step.blocked == outcome.InProgress(Reason.PROVISIONING, message, since)
    assert step.ready is None


def test_a_failed_environment_may_be_written() -> None:
    """A failed PATCH leaves it usable to a later one."""
    failed = observed.Resource({**answers.environment_failed(), "tags": {tags.OWNER: "prod/Environment/gpu-west"}})
    one = wanted.environment(location="eastus", containerApps=wanted.profiles(wanted.T4))

    action = planned(one, replace(wanted.stack(), environment=failed))[Kind.ENVIRONMENT].ready

    assert action is not None
    assert [profile["name"] for profile in action.body["properties"]["workloadProfiles"]] == [
        "Consumption",
        "cpu-d8",
        "T4",
    ]


# Whose it is


@pytest.mark.parametrize("part", ["account", "workspace", "environment"])
@pytest.mark.parametrize("state", ["Succeeded", "InProgress"])
def test_anothers_resource_stops_every_write(part: str, state: str) -> None:
    """What isn't ours is not touched, nor built upon; the step says whose it is."""
    seen = lacking(wanted.stack(), "share", "storage")
    theirs = wanted.with_tags(getattr(seen, part), acaops_owner="theirs/Environment/e")
    theirs = wanted.with_properties(theirs, provisioningState=state)

    there: dict[str, Any] = {part: theirs}
    steps = planned(wanted.environment(tags={"new": "tag"}), replace(seen, **there))

    assert ready(steps) == set()
    blocked = {kind: step.blocked for kind, step in steps.items() if isinstance(step.blocked, outcome.Stalled)}
    assert {one.reason for one in blocked.values()} == {Reason.OWNED_BY_OTHER}
    kind = {"account": Kind.ACCOUNT, "workspace": Kind.WORKSPACE, "environment": Kind.ENVIRONMENT}[part]
    assert "theirs/Environment/e" in blocked[kind].message


@pytest.mark.parametrize(
    ("allow", "open_to"),
    [
        ((), True),
        ((wanted.SUBSCRIPTION,), True),
        ((f"{wanted.SUBSCRIPTION}/RG-Phi3/",), True),
        (("11111111-0000-0000-0000-000000000000", wanted.SUBSCRIPTION), True),
        ((f"{wanted.SUBSCRIPTION}/rg",), False),
        (("",), False),
    ],
)
@pytest.mark.parametrize("seen", [observed.Stack(), wanted.stack()], ids=["nothing", "all"])
def test_the_guard_list(allow: tuple[str, ...], open_to: bool, seen: observed.Stack) -> None:
    """Outside of it nothing is written and the object says so, whether there is something to write or not."""
    steps = planned(wanted.environment(), seen, scope=planner.Scope("prod", allow))

    guarded = [step.blocked for step in steps.values() if isinstance(step.blocked, outcome.Stalled)]
    assert bool(guarded) is not open_to
    assert all(blocked.reason == Reason.GUARDED for blocked in guarded)
    assert bool(ready(steps)) is (open_to and seen == observed.Stack())


# The key that mounts the share


def keyed(seen: observed.Stack, *, recorded: str | None, keys: tuple[str, ...] | None, storage: bool) -> observed.Stack:
    assert seen.account is not None
    account = wanted.with_tags(seen.account, acaops_storage_key=recorded)
    return replace(seen, account=account, keys=keys, storage=seen.storage if storage else None)


def test_a_storage_is_made_with_the_accounts_first_key() -> None:
    """The key itself is looked up when the action runs; then the tag says which one it was."""
    before = keyed(wanted.stack(), recorded=None, keys=wanted.KEYS, storage=False)
    after = replace(before, storage=wanted.stack().storage)

    first = planned(wanted.environment(), before)
    second = planned(wanted.environment(), after)

    made = first[Kind.STORAGE].ready
    assert made is not None
    assert made.body["properties"]["azureFile"] == {
        "accountName": "phi3storage",
        "shareName": "phi3share",
        "accessMode": "ReadWrite",
        "accountKey": actions.Lookup("account-key", wanted.ids().account, wanted.KEYS[0]),
    }
    assert ready(first) == {Kind.STORAGE}
    assert ready(second) == {Kind.ACCOUNT}
    assert actions_of(second)[Kind.ACCOUNT].body["tags"][tags.STORAGE_KEY] == f"phi3mount:{wanted.KEYS[0]}"


def test_a_rotated_key_makes_a_new_storage_then_the_tag() -> None:
    """`<name>-<8 hex>`; a crash between the two leads to the same storage."""
    rotated = ("cccccccc33333333", "dddddddd44444444")
    before = keyed(wanted.stack(), recorded=f"phi3mount:{wanted.KEYS[0]}", keys=rotated, storage=False)
    storage = wanted.stack().storage

    first = planned(wanted.environment(), before)
    second = planned(wanted.environment(), replace(before, storage=storage))
    recorded = keyed(wanted.stack(), recorded=f"phi3mount-cccccccc:{rotated[0]}", keys=rotated, storage=True)
    third = planned(wanted.environment(), recorded)

    assert first[Kind.STORAGE].resource_id.endswith("/storages/phi3mount-cccccccc")
    assert ready(first) == {Kind.STORAGE}
    assert ready(second) == {Kind.ACCOUNT}
    assert actions_of(second)[Kind.ACCOUNT].reason == "changed"
    assert before.account is not None
    assert without_record(actions_of(second)[Kind.ACCOUNT]) == {
        **{name: value for name, value in before.account.tags.items() if name != tags.APPLIED},
        tags.STORAGE_KEY: f"phi3mount-cccccccc:{rotated[0]}",
    }
    assert third[Kind.STORAGE].resource_id.endswith("/storages/phi3mount-cccccccc")
    assert actions_of(third) == {}


def test_unreadable_keys_stop_only_the_storage() -> None:
    """A reader sees a plan; what is there needs no key."""
    reader = keyed(wanted.stack(), recorded=f"phi3mount:{wanted.KEYS[0]}", keys=None, storage=False)

    missing = planned(wanted.environment(), reader)
    there = planned(wanted.environment(), replace(reader, storage=wanted.stack().storage))

    blocked = missing[Kind.STORAGE].blocked
    assert isinstance(blocked, outcome.Stalled)
    assert blocked.reason == Reason.FORBIDDEN
    assert ready(missing) == set()
    assert actions_of(there) == {}


def test_the_group_of_default_names_is_the_services_own_spelling() -> None:
    """Steps name the resources that the ids name."""
    one = wanted.environment()
    at = identity.Ids(wanted.GROUP_ID.replace("rg-phi3", "RG-Phi3"), wanted.ids(one).names)

    plan = planner.environment(one, scope=wanted.SCOPE, ids=at, seen=observed.Stack(), now=wanted.NOW)

    assert {step.resource_id for step in plan.steps if "RG-Phi3" not in step.resource_id} == set()
