"""What the preflight asks and says of an Environment: names, regions, quotas, and what couldn't be asked."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model import desired, observed, outcome
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner, preflight
from tests.unit.plan import wanted
from tests.unit.plan.quotas import usage

NAME = preflight.Question("name", wanted.SUBSCRIPTION, "phi3storage")
PROFILES = preflight.Question("profiles", wanted.SUBSCRIPTION, "westus3")
QUOTA = preflight.Question("quota", wanted.SUBSCRIPTION, "westus3")
TYPES = tuple({"name": name} for name in ("D4", "NC24-A100", "Consumption"))
D4 = {"name": "big", "type": "D4", "minimumCount": 0, "maximumCount": 3}


def usages(*, gpus: tuple[float, float] = (0, 16), environments: tuple[float, float] = (0, 50)) -> preflight.Answer:
    return (
        usage("ManagedEnvironmentCount", *environments),
        usage("SubscriptionDedicatedNCA100Gpus", *gpus),
    )


def subject(
    one: desired.Environment | None = None,
    seen: observed.Stack | None = None,
    *,
    scope: planner.Scope = wanted.SCOPE,
) -> preflight.Environment:
    """The Environment with the plan for what was `seen`; nothing by default."""
    one, seen = one or wanted.environment(), seen or observed.Stack()
    ids = wanted.ids(one)
    plan = planner.environment(one, scope=scope, ids=ids, seen=seen, now=wanted.NOW)
    return preflight.Environment(one, ids, seen, plan)


def judged(of: preflight.Environment, **changed: preflight.Answer) -> list[preflight.Finding]:
    """The findings where all is well but for the answers in `changed`, by what is asked about."""
    well: dict[str, preflight.Answer] = {"name": (), "profiles": TYPES, "quota": usages()}
    return list(of.findings({question: (well | changed)[question.about] for question in of.questions}))


def said(of: preflight.Environment, **changed: preflight.Answer) -> list[tuple[str, str, str]]:
    return [(one.level, one.check, one.message) for one in judged(of, **changed)]


# What is asked


def test_a_new_stack_asks_for_name_region_and_quota() -> None:
    """Each once, and where all is well nothing is said."""
    assert subject().questions == (NAME, PROFILES, QUOTA)
    assert judged(subject()) == []


def test_a_settled_stack_asks_nothing() -> None:
    """What was taken once isn't judged again."""
    assert subject(seen=wanted.stack()).questions == ()
    assert judged(subject(seen=wanted.stack())) == []


def test_out_of_bounds_nothing_is_asked() -> None:
    """The plan says what is in the way."""
    assert subject(scope=planner.Scope("prod", allow=("other",))).questions == ()


def test_the_region_is_the_groups_where_the_yaml_names_none() -> None:
    """In the form of a code; unknown as long as there is no group."""
    group = wanted.live("Microsoft.Resources/resourceGroups", "rg-phi3", location="West US 3 (Stage)")
    asked = subject(wanted.environment(location=None), observed.Stack(group=group)).questions
    assert {one.of for one in asked} == {"phi3storage", "westus3stage"}
    assert subject(wanted.environment(location=None)).questions == (NAME,)


def test_a_profile_that_is_added_asks_for_the_region() -> None:
    """Its machines may not be there; what quota it takes isn't told by region."""
    more = wanted.environment(containerApps=wanted.profiles(wanted.PROFILE, D4))
    of = subject(more, wanted.stack())
    assert of.questions == (PROFILES,)
    assert said(of, profiles=({"name": "D8"},)) == [
        (
            "error",
            "region",
            "spec.containerApps.workloadProfiles[1].type: region westus3 has no D4; it has D8; choose one of these "
            "types or another region",
        )
    ]


def test_more_gpus_ask_for_the_quota() -> None:
    """Only what is more counts; the environment that is there goes on in any case."""
    more = wanted.environment(containerApps=wanted.profiles(wanted.PROFILE | {"maximumCount": 5}))
    of = subject(more, wanted.stack())
    assert of.questions == (QUOTA,)
    assert judged(of, quota=usages(gpus=(13, 16), environments=(50, 50))) == []
    (one,) = judged(of, quota=usages(gpus=(16, 16)))
    assert (one.level, one.check) == ("warning", "quota")
    assert "up to 3 GPUs more by maximumCount, but region westus3 has 0 left: 16 of 16 in use" in one.message


def test_serverless_profiles_ask_no_region() -> None:
    """They are in none of its lists."""
    more = wanted.environment(containerApps=wanted.profiles(wanted.PROFILE, wanted.T4))
    assert subject(more, wanted.stack()).questions == ()


# What the answers mean


def test_a_name_that_is_taken() -> None:
    """An error with the service's words and the field to change."""
    (one,) = said(subject(), name=({"message": "The storage account named phi3storage is already taken."},))
    assert one == (
        "error",
        "name",
        "storage account 'phi3storage' can't be created: The storage account named phi3storage is already taken; set "
        "spec.storage.accountName to another name",
    )


def test_a_type_that_the_region_lacks() -> None:
    """The types it has are listed, in the service's order; case doesn't matter."""
    assert judged(subject(), profiles=({"name": "nc24-a100"},)) == []
    (one,) = said(subject(), profiles=({"name": "D4"}, {"name": "Consumption"}))
    assert one == (
        "error",
        "region",
        "spec.containerApps.workloadProfiles[0].type: region westus3 has no NC24-A100; it has D4, Consumption; choose "
        "one of these types or another region",
    )
    (none,) = judged(subject(), profiles=())
    assert "it has none;" in none.message


def test_serverless_types_need_not_be_listed() -> None:
    """The service never lists them."""
    one = wanted.environment(containerApps=wanted.profiles(wanted.T4))
    assert judged(subject(one), profiles=({"name": "D4"},), quota=()) == []


@pytest.mark.parametrize(
    ("minimum", "maximum", "used", "level"),
    [
        pytest.param(0, 2, (0, 2), None, id="enough"),
        pytest.param(0, 2, (0, 0), "error", id="none at all"),
        pytest.param(0, 2, (2, 2), "error", id="all in use"),
        pytest.param(0, 2, (3, 2), "error", id="overdrawn"),
        pytest.param(0, 2, (1, 2), "warning", id="one of two"),
        pytest.param(2, 2, (1, 2), "error", id="fewer than the least"),
    ],
)
def test_gpu_quota_of_a_new_environment(
    minimum: int, maximum: int, used: tuple[float, float], level: str | None
) -> None:
    """Too little for the machines that must be there can't work; too little for the most may be meant."""
    profile = wanted.PROFILE | {"minimumCount": minimum, "maximumCount": maximum}
    of = subject(wanted.environment(containerApps=wanted.profiles(profile, D4)))
    assert [one.level for one in judged(of, quota=usages(gpus=used))] == ([level] if level else [])


def test_gpus_per_machine_count() -> None:
    """The message names the profile, what it asks for and what is left, and the way out."""
    profile = {"name": "GPU", "type": "NC48-A100", "minimumCount": 0, "maximumCount": 1}
    of = subject(wanted.environment(containerApps=wanted.profiles(profile)))
    (one,) = said(of, profiles=({"name": "NC48-A100"},), quota=usages(gpus=(15, 16)))
    assert one == (
        "error",
        "quota",
        "spec.containerApps.workloadProfiles[0] (GPU, NC48-A100): up to 2 GPUs more by maximumCount, but region "
        "westus3 has 1 left: 15 of 16 in use (SubscriptionDedicatedNCA100Gpus); ask for more in the Azure portal "
        "(Quotas), or choose another region or a Consumption-GPU type",
    )


def test_no_room_for_an_environment() -> None:
    """A region's count of environments is a quota too."""
    (one,) = said(subject(), quota=usages(environments=(15, 15)))
    assert one[:2] == ("error", "quota")
    assert "no room for an environment: 15 of 15 in use (ManagedEnvironmentCount)" in one[2]


def test_a_quota_that_is_not_told() -> None:
    """Nothing is made up; an empty entry counts as nothing."""
    (one,) = said(subject(), quota=({"name": None},))
    assert one[:2] == ("note", "quota")
    assert one[2].startswith("unknown: the GPU quota: ")
    (none,) = judged(subject(), quota=({"name": {"value": "subscriptiondedicatednca100gpus"}, "limit": None},))
    assert none.level == "error"


# What couldn't be asked


@pytest.mark.parametrize("about", ["name", "profiles", "quota", "environment"])
def test_a_reader_is_told_what_it_takes(about: Any) -> None:
    """The permission is named; it is never an error."""
    question = preflight.Question(about, wanted.SUBSCRIPTION, "x")
    one = preflight.unanswered(question, preflight.Unanswered(Reason.FORBIDDEN, "no"))
    assert one.level == "note"
    assert one.message.startswith("unknown: ")
    assert one.message.rpartition(": needs ")[2].endswith("/read")


@pytest.mark.parametrize("reason", [Reason.NOT_REGISTERED, Reason.REGISTERING])
def test_a_provider_that_is_not_registered(reason: str) -> None:
    """It will be; said in the same words whichever question found out."""
    nothing = preflight.Unanswered(reason, "not registered")
    found = judged(subject(), profiles=nothing, quota=nothing)
    assert {(one.level, one.message) for one in found} == {
        ("note", f"Microsoft.App isn't registered in subscription {wanted.SUBSCRIPTION} yet; it will be registered")
    }


def test_a_region_that_does_not_exist() -> None:
    """An error with the service's words, the same whichever question found out; a bad name isn't one."""
    nothing = preflight.Unanswered(Reason.INVALID_REQUEST, "No registered resource provider found for location 'mars'")
    found = judged(subject(), name=nothing, profiles=nothing, quota=nothing)
    assert [one.level for one in found] == ["note", "error", "error"]
    assert len(set(found)) == 2
    assert found[1].message == (
        "spec.location: westus3: No registered resource provider found for location 'mars'; choose a region that "
        "Microsoft.App is offered in"
    )


def test_anything_else_is_unknown() -> None:
    """With the reason it is."""
    (one,) = judged(subject(), quota=preflight.Unanswered(Reason.TIMEOUT, "no answer in 10 s"))
    expected = "unknown: what quota is left in the region: no answer in 10 s"
    assert one == preflight.Finding("note", "quota", expected)


# What is coming


def coming_when(blocked: outcome.Outcome | None, *others: actions.Step) -> bool:
    action = actions.Action("Create", "missing")
    plan = actions.Plan((*others, actions.Step(Kind.APP, "phi3", "/phi3", action, blocked)))
    return preflight.coming(plan, Kind.APP) is action


@pytest.mark.parametrize(
    ("blocked", "expected"),
    [
        pytest.param(None, True, id="free"),
        pytest.param(outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "later"), True, id="later"),
        pytest.param(outcome.Stalled(Reason.FORBIDDEN, "a reader"), True, id="by somebody who may"),
        pytest.param(outcome.Stalled(Reason.IMMUTABLE_FIELD, "never"), False, id="never"),
    ],
)
def test_only_what_can_be_written_is_coming(blocked: outcome.Outcome | None, expected: bool) -> None:
    """Waiting ends by itself, a stop doesn't, and what a reader can't see the controller may."""
    assert coming_when(blocked) is expected


def test_a_stop_for_all_of_an_object() -> None:
    """Out of bounds and of another owner is out of bounds for every step, whatever each waits for."""
    for reason in (Reason.GUARDED, Reason.OWNED_BY_OTHER):
        first = actions.Step(Kind.GROUP, "rg", "/rg", blocked=outcome.Stalled(reason, "no"))
        assert not coming_when(outcome.Waiting(Reason.DEPENDENCY_NOT_READY, "later"), first)
    assert preflight.coming(actions.Plan(()), Kind.APP) is None
