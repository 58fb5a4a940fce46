"""Environment storages made with earlier account keys are removed when nothing mounts them any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model import observed, tags
from controller.model.kinds import Kind
from controller.plan import actions, planner
from tests.unit.plan import wanted

NOW_KEY = "cccccccc33333333"
CURRENT = "phi3mount-cccccccc"


def storage(name: str, *, account: str = "phi3storage", share: str = "phi3share") -> observed.Resource:
    file = {"accountName": account, "shareName": share, "accessMode": "ReadWrite"}
    return observed.Resource({"name": name, "properties": {"azureFile": file}})


def rotated(*names: str, mounted: frozenset[str] | None = frozenset()) -> observed.Stack:
    """After a rotation: the storage of the new key is there and on record."""
    stack = wanted.stack()
    assert stack.account is not None
    account = wanted.with_tags(stack.account, acaops_storage_key=f"{CURRENT}:{NOW_KEY}")
    listed = tuple(storage(name) for name in (*names, CURRENT))
    return replace(stack, account=account, keys=(NOW_KEY,), storage=storage(CURRENT), storages=listed, mounted=mounted)


def deletes(seen: observed.Stack) -> list[actions.Step]:
    one = wanted.environment()
    plan = planner.environment(one, scope=wanted.SCOPE, ids=wanted.ids(one), seen=seen, now=wanted.NOW)
    return [step for step in plan.steps if step.action and step.action.verb == "Delete"]


def test_those_of_earlier_keys_go() -> None:
    """The first one and every later one, each by a step of its own."""
    gone = deletes(rotated("phi3mount", "Phi3Mount-0123abcd"))

    assert [step.name for step in gone] == ["phi3mount", "Phi3Mount-0123abcd"]
    assert {step.kind for step in gone} == {Kind.STORAGE}
    assert gone[0].resource_id.endswith("/managedEnvironments/phi3-env/storages/phi3mount")
    assert gone[0].ready == actions.Action("Delete", "no listed revision mounts it")


@pytest.mark.parametrize(
    ("name", "mounted"),
    [
        ("phi3mount", frozenset({"phi3mount"})),
        ("Phi3mount", frozenset({"phi3mount"})),
        ("phi3mount", None),
        ("phi3mount-backup", frozenset()),
        ("phi3mount-0123abcde", frozenset()),
        ("models", frozenset()),
        (CURRENT.upper(), frozenset()),
    ],
)
def test_one_in_use_or_of_others_stays(name: str, mounted: frozenset[str] | None) -> None:
    """While anything mounts it, or nobody knows; and whatever isn't named as ours."""
    assert deletes(rotated(name, mounted=mounted)) == []


@pytest.mark.parametrize("other", [{"account": "theirs"}, {"share": "theirs"}])
def test_one_of_another_share_stays(other: dict[str, str]) -> None:
    """Its name may be a coincidence."""
    seen = replace(rotated(), storages=(storage("phi3mount", **other), observed.Resource({"name": "phi3mount"})))

    assert deletes(seen) == []


def test_not_before_the_new_one_is_there_and_on_record() -> None:
    """A pass that was cut short must find its way back."""
    seen = rotated("phi3mount")
    assert seen.account is not None
    assert seen.storage is not None
    before = wanted.with_tags(seen.account, acaops_storage_key=f"phi3mount:{wanted.KEYS[0]}")
    broken = wanted.with_properties(seen.storage, provisioningState="Failed")

    assert deletes(replace(seen, storage=None)) == []
    assert deletes(replace(seen, storage=broken)) == []
    assert deletes(replace(seen, account=before)) == []
    assert deletes(replace(seen, account=None)) == []
    unrecorded = wanted.with_tags(seen.account, acaops_storage_key=None)
    assert deletes(replace(seen, account=unrecorded, keys=None)) == []


def test_not_while_the_environment_is_at_work_or_somebody_elses() -> None:
    """One write at a time, and none to others."""
    seen = rotated("phi3mount")
    assert seen.environment is not None
    busy = wanted.with_properties(seen.environment, provisioningState="Updating")
    theirs = wanted.with_tags(seen.environment, **{tags.OWNER.replace("-", "_"): "theirs/Environment/e"})

    assert [step.ready for step in deletes(replace(seen, environment=busy))] == [None]
    assert [step.ready for step in deletes(replace(seen, environment=theirs))] == [None]
