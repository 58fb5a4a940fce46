"""A scenario's file: what it may hold, and how each mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local_azure import scenario


def written(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def test_every_rule_of_the_documentation_is_read(tmp_path: Path) -> None:
    """The example in the module's text is a scenario."""
    text = "\n".join((scenario.__doc__ or "").splitlines()[2:6])
    assert scenario.load(written(tmp_path, text)) == (
        scenario.Rule("pull-fails", app="phi3-chat", seconds=120.0),
        scenario.Rule("capacity", profile="GPU", replicas=0, then=1, after=600.0),
        scenario.Rule("crash", image="*:broken", exit_code=3, after=30.0),
    )


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ("{does: hang}", scenario.Rule("hang")),
        ("{does: hang, app: 2026-13-45}", scenario.Rule("hang", app="2026-13-45")),
        ("{does: pull-takes, seconds: 1.5}", scenario.Rule("pull-takes", seconds=1.5)),
        ("{does: quota, profile: T*, gpus: 0}", scenario.Rule("quota", profile="T*", gpus=0)),
        ("{does: slow-start, seconds: 1200}", scenario.Rule("slow-start", seconds=1200.0)),
        ("{does: out-of-memory, memory: 300Mi}", scenario.Rule("out-of-memory", memory=300 * 1024**2)),
        ("{does: out-of-memory, memory: 1.5Gi}", scenario.Rule("out-of-memory", memory=3 * 1024**3 // 2)),
        ("{does: flap, ready: 30, unready: 10}", scenario.Rule("flap", ready=30.0, unready=10.0)),
    ],
)
def test_a_rule_is_read(tmp_path: Path, rule: str, read: scenario.Rule) -> None:
    """Each kind with its own keys."""
    assert scenario.load(written(tmp_path, f"rules: [{rule}]")) == (read,)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "a scenario is a mapping; begin with `rules:`"),
        ("[]", 1, "a scenario is a mapping; begin with `rules:`"),
        ("rules: []\nmore: 1", 2, "more isn't known; write one of rules"),
        ("{}", 1, "rules is missing; give a list of rules"),
        ("rules: 3", 1, "rules must be a list; begin each rule with `-`"),
        ("rules:\n- x", 2, "rules[0] must be a mapping, like {app: NAME, does: hang}"),
        ("rules:\n- {app: x}", 2, "rules[0].does is missing; write one of pull-fails, "),
        ("rules:\n- {does: [hang]}", 2, "rules[0].does is a list; write one of pull-fails, "),
        ("rules:\n- {does: fly}", 2, "rules[0].does is 'fly'; write one of pull-fails, "),
        ("rules:\n- {does: hang, wings: 2}", 2, "rules[0].wings isn't known; write one of does, app, "),
        ("rules:\n- {does: hang, seconds: 2}", 2, "rules[0].seconds means nothing for hang; it takes app, image, "),
        ("rules:\n- {does: quota, gpus: 1, app: a}", 2, "rules[0].app means nothing for quota; it takes profile, gpus"),
        ("rules:\n- {does: hang}\n- does: flap\n  ready: 3", 3, "rules[1].unready is missing; flap needs a number of"),
        ("rules:\n- does: crash\n  after: -1", 3, "rules[0].after is -1; write a number of seconds above 0"),
        ("rules:\n- does: crash\n  after: true", 3, "rules[0].after is True; write a number of seconds above 0"),
        ("rules:\n- does: crash\n  exitCode: 256", 3, "rules[0].exitCode is 256; write an exit code, 0 to 255"),
        ("rules:\n- {does: out-of-memory, memory: 3}", 2, "rules[0].memory is 3; write a text like 300Mi or 2Gi"),
        ("rules:\n- {does: out-of-memory, memory: 1.1.1Gi}", 2, "rules[0].memory is '1.1.1Gi'; write a text like"),
        ("rules:\n- {does: hang, app: [a]}", 2, "rules[0].app is a list; write a text with * for anything"),
        ("rules:\n- {does: hang, does: hang}", 2, "rules[0].does stands there twice; keep one"),
        ("rules:\n- {does: capacity, replicas: 1, then: 2}", 2, "rules[0]: then and after belong together; give both"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_remedy(tmp_path: Path, text: str, line: int, told: str) -> None:
    """One line each, which says what to write instead."""
    path = written(tmp_path, text)
    with pytest.raises(scenario.ScenarioError) as caught:
        scenario.load(path)
    assert str(caught.value).startswith(f"{path}:{line}: {told}")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """One reading shows them all."""
    with pytest.raises(scenario.ScenarioError) as caught:
        scenario.load(written(tmp_path, "rules:\n- {does: fly}\n- {does: flap}\n- 1"))
    assert len(str(caught.value).splitlines()) == 4


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Neither a missing one nor one that isn't YAML ends in a traceback."""
    with pytest.raises(scenario.ScenarioError, match="No such file or directory; give the path of a scenario"):
        scenario.load(tmp_path / "none.yaml")
    with pytest.raises(scenario.ScenarioError, match="isn't YAML"):
        scenario.load(written(tmp_path, "rules: ["))


def test_the_first_rule_that_concerns_a_container_counts() -> None:
    """App, image and profile are patterns, and all must fit."""
    first, second = scenario.Rule("crash", image="*:bad", app="a*"), scenario.Rule("crash", profile="GPU")
    played = scenario.Scenario(first, second)
    assert played.rule("crash", app="api", image="x:bad", profile="GPU") is first
    assert played.rule("crash", app="web", image="x:bad", profile="GPU") is second
    assert played.rule("crash", app="web", image="x:bad", profile="T4") is None
    assert played.rule("hang", app="api", image="x:bad", profile="GPU") is None
