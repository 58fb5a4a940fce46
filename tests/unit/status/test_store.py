"""The statuses in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import pytest
import structlog.testing

from controller.model import conditions, outcome
from controller.model.commit import Commit
from controller.model.conditions import Condition
from controller.status import store
from controller.status.store import HistoryEntry, ObjectStatus, SourceStatus, Store
from controller.status.summarize import StepReport

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
APP = ("InferenceApp", "phi3-chat")
COMMIT = Commit("a" * 40, "Ann", "first", NOW)
LATER = Commit("b" * 40, "Bob", "second", NOW)


def a_store(*statuses: ObjectStatus) -> Store:
    filled = Store(SourceStatus("desired_state", "git:abc", NOW))
    for status in statuses:
        filled.replace(status)
    return filled


def test_replace_gives_what_was_there() -> None:
    """The status before, for the events; None the first time."""
    first, second = ObjectStatus(*APP, passes=1), ObjectStatus(*APP, passes=2)
    statuses = a_store()
    assert statuses.replace(first) is None
    assert statuses.replace(second) is first
    assert statuses.get(APP) is second


def test_a_snapshot_is_sorted_and_stays_as_it_was() -> None:
    """By kind and name; later changes don't reach it."""
    statuses = a_store(ObjectStatus(*APP), ObjectStatus("Environment", "b"), ObjectStatus("Environment", "a"))
    snapshot = statuses.snapshot()
    statuses.forget(APP)
    statuses.forget(APP)
    assert [status.name for status in snapshot.objects] == ["a", "b", "phi3-chat"]
    assert [status.name for status in statuses.snapshot().objects] == ["a", "b"]


@pytest.mark.parametrize("kind", ["InferenceApp", "inferenceapp", "INFERENCEAPP"])
def test_objects_are_found_by_kind_in_any_case(kind: str) -> None:
    """Names are exact."""
    statuses = a_store(ObjectStatus(*APP))
    assert statuses.find(kind, "phi3-chat") == ObjectStatus(*APP)
    assert statuses.find(kind, "Phi3-Chat") is None


def test_subscribers_are_told_until_they_leave() -> None:
    """Each status that is put, in order; leaving twice is fine."""
    seen: list[int] = []
    statuses = a_store()
    leave = statuses.subscribe(lambda status: seen.append(status.passes))
    statuses.replace(ObjectStatus(*APP, passes=1))
    statuses.replace(ObjectStatus(*APP, passes=2))
    leave()
    leave()
    statuses.replace(ObjectStatus(*APP, passes=3))
    assert seen == [1, 2]


def test_a_subscriber_that_fails_harms_nobody() -> None:
    """The status is put, the others are told, and the failure is logged."""
    seen: list[ObjectStatus] = []

    def fail(status: ObjectStatus) -> None:
        raise RuntimeError("the display broke")

    statuses = a_store()
    statuses.subscribe(fail)
    statuses.subscribe(seen.append)
    with structlog.testing.capture_logs() as logged:
        statuses.replace(ObjectStatus(*APP))
    assert seen == [ObjectStatus(*APP)]
    assert [line["log_level"] for line in logged] == ["error"]


def test_json_has_the_kubernetes_shape() -> None:
    """camelCase, conditions as Kubernetes has them, times in UTC with a Z."""
    east = timezone(timedelta(hours=2))
    status = ObjectStatus(
        *APP,
        conditions=(Condition(conditions.READY, "True", "Ready", "serves", "git:abc", NOW.astimezone(east)),),
        source_revision="git:abc",
        attempted=LATER,
        applied=COMMIT,
        release="r1",
        endpoint="https://app",
        resources=(
            StepReport("storageAccount", "/a", "Create", outcome.InProgress("Provisioning", "Creating", NOW)),
            StepReport("content", "/c", "", outcome.Waiting("Throttled", "429", 3.0)),
            StepReport("revision", "/r", "", outcome.Done("serves")),
        ),
        drift=(store.Drift("containerApp", "properties.template.scale.maxReplicas", left=True),),
        suspended=store.Suspended("an incident", NOW),
        last_error="e",
        failure=store.Failure("r0", 1, "app--0", "OutOfMemory", "m", ("137",), ("last words",), NOW, rejected=True),
        history=(HistoryEntry("r1", "app--1", NOW, "Ready", "m"),),
        last_pass=NOW,
        passes=7,
    )
    when = "2026-11-22T12:00:00Z"
    assert json.loads(json.dumps(status.as_json())) == {
        "kind": "InferenceApp",
        "name": "phi3-chat",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "serves",
                "lastTransitionTime": when,
                "observedRevision": "git:abc",
            }
        ],
        "sourceRevision": "git:abc",
        "lastAttempted": {"sha": "b" * 40, "author": "Bob", "subject": "second", "time": "2026-11-22T12:00:00Z"},
        "lastApplied": {"sha": "a" * 40, "author": "Ann", "subject": "first", "time": "2026-11-22T12:00:00Z"},
        "release": "r1",
        "endpoint": "https://app",
        "resources": [
            _step("storageAccount", "/a", verb="Create", outcome="InProgress", reason="Provisioning",
                  message="Creating", since=when),
            _step("content", "/c", outcome="Waiting", reason="Throttled", message="429", after=3.0),
            _step("revision", "/r", outcome="Done", message="serves"),
        ],
        "drift": [{"resource": "containerApp", "path": "properties.template.scale.maxReplicas", "left": True}],
        "suspended": {"reason": "an incident", "until": when},
        "lastError": "e",
        "failure": {
            "release": "r0",
            "attempt": 1,
            "revision": "app--0",
            "cause": "OutOfMemory",
            "message": "m",
            "evidence": ["137"],
            "log": ["last words"],
            "when": when,
            "rejected": True,
        },
        "history": [{"release": "r1", "revision": "app--1", "when": when, "result": "Ready", "message": "m"}],
        "lastPass": when,
        "passes": 7,
    }  # fmt: skip


def _step(name: str, resource: str, **given: object) -> dict[str, object]:
    empty = {"verb": "", "reason": "", "message": "", "since": None, "after": None}
    return {"name": name, "resource": resource, **empty, **given}


def test_the_whole_snapshot_as_json() -> None:
    """The source beside the objects; an object before its first pass has no time of one."""
    source = SourceStatus("desired_state", "git:abc", NOW, ("a.yaml:1:1: no",), COMMIT, LATER, NOW, "gone", "rewritten")
    gone = {"kind": "InferenceApp", "name": "old", "step": "containerApp", "resource": "/a", "state": "Kept"}
    source = replace(source, pruning=(store.Pruned(**gone, message="adopted"),))  # type: ignore[arg-type]
    assert a_store(ObjectStatus(*APP)).snapshot().as_json()["objects"][0]["lastPass"] is None
    assert Store(source).snapshot().as_json() == {
        "source": {
            "folder": "desired_state",
            "revision": "git:abc",
            "loadedAt": "2026-11-22T12:00:00Z",
            "commit": COMMIT.as_json(),
            "attempted": LATER.as_json(),
            "fetchedAt": "2026-11-22T12:00:00Z",
            "fetchError": "gone",
            "notice": "rewritten",
            "pruning": [{**gone, "message": "adopted"}],
            "problems": ["a.yaml:1:1: no"],
        },
        "objects": [],
    }


def test_unready_until_the_first_load() -> None:
    """It says what the load found, or that there was none."""
    source = SourceStatus("desired_state")
    assert Store(source).unready([]) == ("the desired state in desired_state was not loaded yet",)
    assert Store(replace(source, problems=("a.yaml:1:1: no",))).unready([]) == ("a.yaml:1:1: no",)
    assert Store(replace(source, fetch_error="refused")).unready([]) == ("refused",)


def test_unready_until_each_object_had_a_pass() -> None:
    """Objects that aren't known, and those that are but had no pass, are named."""
    statuses = a_store(ObjectStatus("Environment", "gpu-west", passes=1), ObjectStatus(*APP))
    wanted = [("Environment", "gpu-west"), APP, ("InferenceApp", "other")]
    assert statuses.unready(wanted) == (
        "InferenceApp/phi3-chat had no pass yet",
        "InferenceApp/other had no pass yet",
    )
    assert statuses.unready(wanted[:1]) == ()


def entry(release: str, result: Literal["Ready", "Failed"]) -> HistoryEntry:
    return HistoryEntry(release, f"app--{release}", NOW, result, "m")


def test_history_takes_a_release_once_and_again_after_a_rollback() -> None:
    """What the newest entry says already isn't repeated."""
    history: tuple[HistoryEntry, ...] = ()
    told = [entry("a", "Ready"), entry("a", "Ready"), entry("b", "Failed"), entry("b", "Failed"), entry("a", "Ready")]
    for each in told:
        history = store.remembered(history, each)
    assert [(each.release, each.result) for each in history] == [("a", "Ready"), ("b", "Failed"), ("a", "Ready")]


def test_history_keeps_the_last_five() -> None:
    """Newest last."""
    history: tuple[HistoryEntry, ...] = ()
    for release in "abcdefg":
        history = store.remembered(history, entry(release, "Ready"))
    assert "".join(each.release for each in history) == "cdefg"
