"""A plan as people and programs read it."""

from __future__ import annotations

import json
from types import MappingProxyType

from pydantic import SecretStr

from controller.model import outcome
from controller.model.kinds import Kind
from controller.plan import actions, render

PLAN = actions.Plan(
    (
        actions.Step(Kind.GROUP, "rg", "/rg"),
        actions.Step(Kind.ACCOUNT, "acc", "/acc", actions.Action("Create", "missing")),
        actions.Step(
            Kind.APP,
            "phi3",
            "/phi3",
            actions.Action(
                "Update",
                "drift",
                (
                    actions.Change("properties.a", None, MappingProxyType({"b": [1]})),
                    actions.Change("properties.long", "x" * 300, SecretStr("hunter2")),
                    actions.Change("properties.key", actions.Lookup("account-key", "/acc", "hunter2"), Kind.APP),
                    actions.Change("properties.odd", object, 1),
                ),
                {"properties": {"template": {}}},
            ),
            outcome.Waiting("DependencyNotReady", "waiting for the environment"),
        ),
        actions.Step(Kind.CONTENT, "abc", "/c", actions.Action("Mirror", "", path="p"), outcome.Done()),
        actions.Step(Kind.SHARE, "s", "/s", None, outcome.Stalled("Guarded", "out of bounds")),
        actions.Step(
            Kind.WORKSPACE, "w", "/w", left=(actions.Change("tags.team", "a", SecretStr("b")),), left_for="mode Observe"
        ),
        actions.Step(Kind.STORAGE, "m", "/m", actions.Action("Delete", "no listed revision mounts it")),
    )
)


def test_lines_tell_what_would_be_done_and_why_not() -> None:
    """A sign, what, the reason; what changes below it, cut to a line's length; no secret."""
    lines = list(render.lines("phi3-chat", PLAN))

    assert lines[0] == "+ phi3-chat  Create storageAccount acc  (missing)"
    assert (
        lines[1] == "~ phi3-chat  Update containerApp phi3  (drift; a new revision; later: waiting for the environment)"
    )
    assert lines[2] == '    properties.a: null -> {"b": [1]}'
    assert lines[3] == f'    properties.long: "{"x" * 238}… -> "(secret)"'
    assert lines[4] == '    properties.key: "(secret)" -> "Microsoft.App/containerApps"'
    assert lines[5].startswith("    properties.odd: ")
    assert lines[6] == "^ phi3-chat  Mirror content abc"
    assert lines[7] == "! phi3-chat  fileShare s  (STOPPED: out of bounds)"
    assert lines[8] == "= phi3-chat  workspace w  (left alone: mode Observe)"
    assert lines[9] == '    tags.team: "a" -> "(secret)"'
    assert lines[10] == "- phi3-chat  Delete environmentStorage m  (no listed revision mounts it)"
    assert len(lines) == 11


def test_json_tells_every_step() -> None:
    """Whether it does something or not, with what is in the way."""
    group, account, app, content, share, workspace, storage = render.as_json(PLAN)

    assert group == {
        "step": "resourceGroup",
        "name": "rg",
        "resource": "/rg",
        "verb": None,
        "reason": None,
        "newRevision": False,
        "blocked": None,
        "changes": [],
        "left": [],
        "leftFor": None,
    }
    assert (account["verb"], account["reason"]) == ("Create", "missing")
    assert app["blocked"] == {
        "outcome": "Waiting",
        "reason": "DependencyNotReady",
        "message": "waiting for the environment",
    }
    assert app["newRevision"] is True
    assert app["changes"][0]["path"] == "properties.a"
    assert content["blocked"] is None
    assert share["blocked"]["outcome"] == "Stalled"
    assert workspace["left"] == [{"path": "tags.team", "before": "a", "after": "(secret)"}]
    assert (workspace["leftFor"], workspace["verb"]) == ("mode Observe", None)
    assert storage["verb"] == "Delete"


def test_json_is_json_and_holds_no_secret() -> None:
    """Whatever values a change holds."""
    text = json.dumps(render.as_json(PLAN))

    assert "hunter2" not in text
    assert "(secret)" in text
