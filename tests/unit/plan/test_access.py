"""Managed identities and registries: added to what others assigned, never taken away."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import desired, observed
from controller.plan import access, actions
from tests.unit.plan import wanted

PULL = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
PUSH = PULL.replace("pull", "push")
USER = {"type": "UserAssigned", "userAssigned": [PULL]}
BOTH = {"type": "SystemAssigned,UserAssigned", "userAssigned": [PULL]}
REGISTRY = {"server": "mine.azurecr.io", "identity": PULL}


def with_identity(live: observed.Resource, kind: str | None, *ids: str) -> observed.Resource:
    """As a GET answers: each identity with what it is called in the directory."""
    assigned = {one: {"principalId": "p", "clientId": "c"} for one in ids}
    identity = {"type": kind, "principalId": "x", "userAssignedIdentities": assigned or None} if kind else None
    return observed.Resource({**live.body, "identity": identity})


def step(app: desired.InferenceApp, live: observed.Resource) -> actions.Step:
    return wanted.plan_app(app, wanted.workload_of(live)).steps[1]


def test_an_app_is_created_with_its_identities() -> None:
    """And none is sent where none is wanted."""
    assert access.identity(desired.Identity.model_validate(BOTH)) == {
        "type": "SystemAssigned,UserAssigned",
        "userAssignedIdentities": {PULL: {}},
    }
    seen = wanted.workload_of(None)
    with_one = wanted.plan_app(wanted.app(identity={"type": "SystemAssigned"}), seen).steps[1].ready
    without = wanted.plan_app(wanted.app(), seen).steps[1].ready
    assert with_one is not None
    assert without is not None
    assert with_one.body["identity"] == {"type": "SystemAssigned"}
    assert "identity" not in without.body


@pytest.mark.parametrize(
    ("spec", "kind", "ids"),
    [
        (None, "SystemAssigned, UserAssigned", [PUSH]),
        (USER, "UserAssigned", [PULL]),
        (USER, "UserAssigned", [PULL.upper().replace("PULL", "pull"), PUSH]),
        (USER, "SystemAssigned, UserAssigned", [PUSH, PULL.lower()]),
        (BOTH, "SystemAssigned, UserAssigned", [PULL]),
        ({"type": "SystemAssigned"}, "SystemAssigned, UserAssigned", [PUSH]),
    ],
)
def test_what_is_assigned_already_is_no_difference(spec: dict[str, Any] | None, kind: str, ids: list[str]) -> None:
    """Ids without case, types with Azure's blank; None owns nothing."""
    app = wanted.app(identity=spec) if spec else wanted.app()
    live = with_identity(wanted.created(app), kind, *ids)

    assert step(app, live).action is None


@pytest.mark.parametrize(
    ("spec", "kind", "ids", "sent"),
    [
        (USER, None, [], {"type": "UserAssigned", "userAssignedIdentities": {PULL: {}}}),
        (USER, "None", [], {"type": "UserAssigned", "userAssignedIdentities": {PULL: {}}}),
        (USER, "UserAssigned", [PUSH], {"type": "UserAssigned", "userAssignedIdentities": {PULL: {}}}),
        (
            USER,
            "SystemAssigned",
            [],
            {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {PULL: {}}},
        ),
        ({"type": "SystemAssigned"}, "UserAssigned", [PUSH], {"type": "SystemAssigned,UserAssigned"}),
        (BOTH, "UserAssigned", [PULL], {"type": "SystemAssigned,UserAssigned"}),
    ],
)
def test_identities_add_up(spec: dict[str, Any], kind: str | None, ids: list[str], sent: dict[str, Any]) -> None:
    """Only what is missing is sent, with the type that covers all there are; what came of it needs no second write."""
    app = wanted.app(identity=spec)
    live = with_identity(wanted.created(app), kind, *ids)

    made = step(app, live)

    assert made.ready is not None
    assert made.ready.reason == "drift"
    assert made.ready.body["identity"] == sent
    assert "properties" not in made.ready.body
    after = with_identity(live, sent["type"].replace(",", ", "), *ids, *sent.get("userAssignedIdentities", {}))
    assert step(app, after).action is None


def test_a_change_of_the_identities_is_told() -> None:
    """By id; the record of what is owned is the spec's, whatever others assigned."""
    app = wanted.app(identity=USER)
    live = with_identity(wanted.created(wanted.app()), "UserAssigned", PUSH)

    made = step(app, live).ready

    assert made is not None
    assert made.reason == "changed"
    assert made.changes == (actions.Change(f"identity.userAssignedIdentities.{PULL}", None, {}),)


def test_a_registry_is_pulled_from_by_identity() -> None:
    """At creation, without a user or password; others' registries stay with their own password."""
    app = wanted.app(identity=USER, registries=[REGISTRY])
    live = wanted.created(app)
    theirs = {"server": "theirs.io", "username": "u", "passwordSecretRef": "pw", "identity": ""}

    first = wanted.plan_app(app, wanted.workload_of(None)).steps[1].ready
    added = step(app, with_registries(live, theirs)).ready

    assert first is not None
    assert first.body["properties"]["configuration"]["registries"] == [REGISTRY]
    assert added is not None
    assert added.body["properties"]["configuration"] == {"registries": [theirs, REGISTRY]}


@pytest.mark.parametrize("spelled", [REGISTRY, {"server": "MINE.azurecr.io", "identity": PULL.upper()}])
def test_a_registry_as_azure_answers_it_is_no_difference(spelled: dict[str, str]) -> None:
    """Empty words for what is absent; names and ids without case; foreign entries beside it."""
    app = wanted.app(identity=USER, registries=[REGISTRY])
    answered = {"username": "", "passwordSecretRef": "", **spelled}

    live = with_registries(wanted.created(app), {"server": "theirs.io", "username": "u"}, answered)

    assert step(app, live).action is None


def test_a_registry_with_a_password_turns_to_the_identity() -> None:
    """One way to sign in; the entry keeps its place and its name's casing."""
    app = wanted.app(identity=USER, registries=[REGISTRY])
    by_password = {"server": "Mine.azurecr.io", "username": "u", "passwordSecretRef": "pw", "identity": ""}

    action = step(app, with_registries(wanted.created(app), by_password)).ready

    assert action is not None
    sent = action.body["properties"]["configuration"]["registries"]
    assert sent == [{"server": "Mine.azurecr.io", "identity": PULL}]


def with_registries(live: observed.Resource, *registries: dict[str, str]) -> observed.Resource:
    live = with_identity(live, "UserAssigned", PULL)
    return wanted.with_properties(live, configuration={"registries": list(registries)})
