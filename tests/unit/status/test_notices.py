"""What people and git services are told of changes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.model import conditions
from controller.model.commit import Commit
from controller.model.conditions import Condition, Reason
from controller.status import notices
from controller.status.store import ObjectStatus, SourceStatus, Store
from controller.telemetry.receivers import CommitStatus, Message, Notice

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ONE, TWO = (Commit(digit * 40, "Ada", "a change", NOW) for digit in "12")
APP, ENV = ("InferenceApp", "phi3-chat"), ("Environment", "gpu-west")
URL = "https://phi3-chat.example"


def status(
    word: str,
    reason: str = Reason.PROGRESSING,
    message: str = "so",
    *,
    key: tuple[str, str] = APP,
    commit: Commit | None = ONE,
    applied: Commit | None = None,
    release: str | None = "r1",
    minute: float = 0.0,
) -> ObjectStatus:
    """The status after a pass at `commit` that came to `word`: Ready, Reconciling, Failing or Stalled."""
    ready = {"Ready": "True", "Reconciling": "Unknown"}.get(word, "False")
    beside = {"Ready": None, "Stalled": conditions.STALLED}.get(word, conditions.RECONCILING)
    reason = Reason.READY if word == "Ready" else reason
    told = [Condition(conditions.READY, ready, reason, message, "r", NOW)]
    if beside is not None:
        told.append(Condition(beside, "True", reason, message, "r", NOW))
    return ObjectStatus(
        *key,
        tuple(told),
        attempted=commit,
        applied=commit if word == "Ready" else applied,
        release=release,
        endpoint=URL if key == APP else None,
        last_pass=NOW + timedelta(minutes=minute),
        passes=1,
    )


def told(*statuses: ObjectStatus) -> list[tuple[str, str]]:
    """The state and the reason of each notice about an object that goes through `statuses`."""
    found: list[tuple[str, str]] = []
    memory = None
    for one in statuses:
        memory, notice = notices.after(memory, one)
        found += [(notice.state, notice.reason)] if notice else []
    return found


READY, WORKING = status("Ready"), status("Reconciling", Reason.ROLLING_OUT)
STUCK = status("Stalled", Reason.QUOTA_EXCEEDED)
IS_READY, IS_STUCK = ("Ready", Reason.READY), ("Stalled", Reason.QUOTA_EXCEEDED)


def failing(minute: float, reason: str = Reason.AZURE_ERROR, commit: Commit = ONE) -> ObjectStatus:
    return status("Failing", reason, commit=commit, minute=minute)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([WORKING, READY], [IS_READY], id="became ready"),
        pytest.param([READY], [], id="was ready before the controller started"),
        pytest.param([WORKING, READY, WORKING, READY], [IS_READY], id="work that changed nothing"),
        pytest.param([READY, WORKING, status("Ready", release="r2")], [IS_READY], id="another release"),
        pytest.param([READY, status("Ready", commit=TWO)], [IS_READY], id="another commit"),
        pytest.param([STUCK], [IS_STUCK], id="stalled when first looked at"),
        pytest.param([READY, STUCK, STUCK], [IS_STUCK], id="stalled once"),
        pytest.param([STUCK, status("Stalled", Reason.QUOTA_EXCEEDED, "for 9 min")], [IS_STUCK], id="another message"),
        pytest.param([STUCK, WORKING, STUCK], [IS_STUCK], id="tried again in vain"),
        pytest.param([STUCK, READY], [IS_STUCK, IS_READY], id="healed"),
        pytest.param(
            [STUCK, status("Stalled", Reason.FORBIDDEN)], [IS_STUCK, ("Stalled", Reason.FORBIDDEN)], id="another reason"
        ),
        pytest.param(
            [STUCK, status("Stalled", Reason.QUOTA_EXCEEDED, commit=TWO)], [IS_STUCK] * 2, id="stalled at a new commit"
        ),
        pytest.param([failing(0), failing(14.9)], [], id="failing for a while"),
        pytest.param(
            [failing(0), failing(15), failing(30, Reason.THROTTLED)], [("Failing", Reason.AZURE_ERROR)], id="for long"
        ),
        pytest.param([READY, failing(0), READY, failing(20), failing(34)], [], id="in between it was ready"),
        pytest.param(
            [failing(0), status("Reconciling", minute=5), failing(15)],
            [("Failing", Reason.AZURE_ERROR)],
            id="in between it was at work",
        ),
        pytest.param([failing(0), status("Reconciling", minute=20)], [], id="at work is not failing"),
        pytest.param(
            [failing(0, Reason.DEPENDENCY_NOT_READY), failing(60, Reason.DEPENDENCY_NOT_READY), failing(61)],
            [],
            id="waiting for another object is not failing",
        ),
        pytest.param(
            [failing(0), failing(15), replace(READY, last_pass=NOW + timedelta(minutes=16))],
            [("Failing", Reason.AZURE_ERROR), IS_READY],
            id="over",
        ),
        pytest.param([STUCK, failing(1), failing(20), STUCK], [IS_STUCK], id="stalled is worse than failing"),
        pytest.param(
            [STUCK, failing(1, commit=TWO), failing(20, commit=TWO)],
            [IS_STUCK, ("Failing", Reason.AZURE_ERROR)],
            id="failing at a new commit",
        ),
        pytest.param([ObjectStatus(*APP), replace(READY, last_pass=None)], [], id="no pass yet"),
    ],
)
def test_what_is_told_of_an_object(statuses: list[ObjectStatus], expected: list[tuple[str, str]]) -> None:
    """What somebody wants to know, once."""
    assert told(*statuses) == expected


def notice(*statuses: ObjectStatus) -> Notice:
    memory, found = None, None
    for one in statuses:
        memory, found = notices.after(memory, one)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("statuses", "severity", "text"),
    [
        ([WORKING, READY], "info", f"InferenceApp/phi3-chat is Ready: release r1, commit 111111111111, {URL}"),
        (
            [status("Reconciling", key=ENV), status("Ready", key=ENV, commit=None, release=None)],
            "info",
            "Environment/gpu-west is Ready",
        ),
        (
            [status("Stalled", Reason.QUOTA_EXCEEDED, "no A100 left")],
            "error",
            "InferenceApp/phi3-chat is Stalled at commit 111111111111: QuotaExceeded: no A100 left",
        ),
        (
            [failing(0), failing(17.5)],
            "warning",
            "InferenceApp/phi3-chat has been failing for 17 minutes: AzureError: so",
        ),
    ],
)
def test_a_notice_can_be_read_alone(statuses: list[ObjectStatus], severity: str, text: str) -> None:
    """It names the object, and what people ask next."""
    found = notice(*statuses)

    assert (found.severity, found.text) == (severity, text)


def test_a_notice_holds_the_facts() -> None:
    """For programs."""
    found = notice(WORKING, replace(READY, last_pass=NOW))

    assert found == Notice(*APP, "Ready", "Ready", "so", found.text, NOW, "r1", ONE.sha, URL)


@dataclass
class World:
    """A store, and what was told."""

    statuses: Store = field(default_factory=lambda: Store(SourceStatus("repo", attempted=ONE)))
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.teller = notices.Teller(self.statuses, "default", self.sent.append)
        self.statuses.subscribe(self.teller.told)

    def load(
        self,
        commit: Commit | None = ONE,
        *problems: str,
        wanted: tuple[tuple[str, str], ...] = (ENV, APP),
        fetch_error: str | None = None,
        minute: float = 0.0,
    ) -> None:
        self.statuses.source = replace(
            self.statuses.source, attempted=commit, problems=problems, fetch_error=fetch_error
        )
        self.teller.loaded(wanted, now=NOW + timedelta(minutes=minute))

    def put(self, *statuses: ObjectStatus) -> None:
        for one in statuses:
            self.statuses.replace(one)

    def commits(self) -> list[tuple[str, str]]:
        """The first digit of each commit that a status was told for, and the state."""
        return [(one.sha[0], one.state) for one in self.sent if isinstance(one, CommitStatus)]

    def notices(self) -> list[tuple[str, str]]:
        return [(one.kind, one.state) for one in self.sent if isinstance(one, Notice)]


ENV_READY = status("Ready", key=ENV, release=None)


def test_a_commit_is_a_success_when_every_object_is_ready_at_it() -> None:
    """Pending until then; the description names the releases."""
    world = World()
    world.load()
    world.put(ENV_READY, WORKING)
    assert world.commits() == [("1", "pending")]

    world.put(READY, READY, ENV_READY)
    assert world.commits() == [("1", "pending"), ("1", "success")]
    assert world.sent[-1] == CommitStatus(ONE.sha, "success", "phi3-chat serves release r1")


def test_a_pass_at_the_commit_before_counts_nothing() -> None:
    """What is Ready at the last commit isn't yet at this one."""
    world = World()
    world.put(ENV_READY, READY)
    world.load(TWO)
    world.put(status("Reconciling", commit=TWO, applied=ONE), replace(ENV_READY, attempted=TWO, applied=TWO))

    assert world.commits() == [("2", "pending")]


def test_work_on_a_commit_that_is_applied_changes_nothing() -> None:
    """Drift that is corrected is no new commit."""
    world = World()
    world.load(wanted=(APP,))
    world.put(READY, WORKING, READY)

    assert world.commits() == [("1", "pending"), ("1", "success")]


def test_a_commit_fails_with_the_object_that_is_stalled() -> None:
    """Once per cause, and it heals."""
    world = World()
    world.load()
    world.put(ENV_READY, STUCK, WORKING, status("Stalled", Reason.QUOTA_EXCEEDED, "for 2 min"))
    assert world.commits() == [("1", "pending"), ("1", "failure")]
    failure = next(one for one in world.sent if isinstance(one, CommitStatus) and one.state == "failure")
    assert failure.description == "InferenceApp/phi3-chat: QuotaExceeded: so"

    world.put(status("Stalled", Reason.FORBIDDEN), READY)
    assert world.commits()[2:] == [("1", "failure"), ("1", "success")]


def test_an_applied_commit_may_fail_later() -> None:
    """What it says no longer holds."""
    world = World()
    world.load(wanted=(APP,))
    world.put(READY, STUCK)

    assert world.commits()[1:] == [("1", "success"), ("1", "failure")]


def test_a_superseded_commit_is_told_so() -> None:
    """Only one that was still under way: what was decided stays."""
    world = World()
    world.load()
    world.load(TWO, wanted=(APP,))
    superseded = CommitStatus(ONE.sha, "error", "superseded by 222222222222")
    assert superseded in world.sent
    world.put(status("Ready", commit=TWO))
    world.load(ONE)

    assert world.commits() == [("1", "pending"), ("1", "error"), ("2", "pending"), ("2", "success"), ("1", "pending")]


def test_a_commit_that_does_not_load_fails() -> None:
    """With the first problem; the objects, which all repeat it, are not told of."""
    world = World()
    world.load(wanted=(APP,))
    world.put(READY)
    world.load(TWO, "app.yaml:3:1: no such field", "app.yaml:4:1: no such field")
    world.put(status("Stalled", Reason.INVALID_DESIRED_STATE, commit=TWO))
    world.put(STUCK)

    assert world.commits() == [("1", "pending"), ("1", "success"), ("2", "failure")]
    assert world.notices() == [("Source", "Stalled")]
    source = next(one for one in world.sent if isinstance(one, Notice))
    assert source.text == (
        "the desired state at commit 222222222222 doesn't load: "
        "app.yaml:3:1: no such field\napp.yaml:4:1: no such field"
    )
    failure = world.sent[-1]
    assert isinstance(failure, CommitStatus)
    assert failure.description == "it doesn't load: app.yaml:3:1: no such field"


def test_a_source_that_loads_again_is_told_once() -> None:
    """Not the objects that are as they were before; and a load that was well all the time is no news."""
    world = World()
    world.load(wanted=(APP,))
    world.put(READY)
    world.load(TWO, "broken")
    world.load(TWO, "broken")
    world.load(ONE, wanted=(APP,))
    world.put(READY)
    world.load(ONE, wanted=(APP,))

    assert world.notices() == [("Source", "Stalled"), ("Source", "Ready")]


def test_a_commit_is_not_judged_before_its_objects_are_known() -> None:
    """A pass may end before the load is told of."""
    world = World()
    world.load(wanted=(ENV,))
    world.statuses.source = replace(world.statuses.source, attempted=TWO)
    world.put(replace(ENV_READY, attempted=TWO, applied=TWO))
    world.load(TWO)

    assert world.commits() == [("1", "pending"), ("1", "error"), ("2", "pending")]


def test_without_git_there_are_no_commits() -> None:
    """A folder's objects are told of all the same."""
    world = World()
    world.load(None, wanted=(APP,))
    world.put(status("Reconciling", commit=None), status("Ready", commit=None))

    assert world.commits() == []
    assert world.notices() == [("InferenceApp", "Ready")]


def test_a_repository_out_of_reach_is_told_when_it_lasts() -> None:
    """And when it is over; the objects go on meanwhile."""
    world = World()
    world.load()
    for minute in (1.0, 15.9, 16.0, 17.0):
        world.load(fetch_error="could not resolve host", minute=minute)
    assert world.notices() == [("Source", "Failing")]
    failing = world.sent[-1]
    assert isinstance(failing, Notice)
    assert failing.text == "nothing was fetched for 15 minutes: could not resolve host"

    world.load(minute=18.0)
    assert world.notices() == [("Source", "Failing"), ("Source", "Ready")]


def test_an_object_that_comes_back_is_a_new_one() -> None:
    """What isn't wanted any more is forgotten."""
    world = World()
    world.load(wanted=(APP,))
    world.put(STUCK)
    world.load(TWO, wanted=())
    world.load(ONE, wanted=(APP,))
    world.put(STUCK)

    assert world.notices() == [("InferenceApp", "Stalled")] * 2
