"""Secrets: read late, stored under names that follow their values, shown nowhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from controller.plan import render
from controller.telemetry import log as logs
from tests.reconcile.stack import APP, Stack, app, environment

ENV = [{"name": "API_KEYS", "secretRef": "api-keys"}, {"name": "TOKEN", "secretRef": "hub"}]
SECRETS = [{"name": "api-keys", "fromEnv": "TEST_API_KEYS"}, {"name": "hub", "fromFile": "../hub.txt"}]
VALUES = ("first-very-secret-value", "second-very-secret-value", "hub-very-secret-value")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure(level="debug", form="json", stream=stream, environ={})
    yield stream
    structlog.reset_defaults()


@pytest.fixture
async def secretive(stack: Stack, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO) -> Stack:
    monkeypatch.setenv("TEST_API_KEYS", VALUES[0])
    (stack.root / "hub.txt").write_text(f"{VALUES[2]}\n")
    stack.write(environment(), app(env=ENV, secrets=SECRETS))
    await stack.converge()
    return stack


async def stored(stack: Stack) -> dict[str, str]:
    answer = await stack.arm("POST", f"{stack.ids.app('chat')}/listSecrets")
    return {each["name"]: each["value"] for each in answer["value"]}


async def test_names_follow_values(secretive: Stack) -> None:
    """`<name>-<8 hex>` in the app, and the variables refer to those names."""
    names = await stored(secretive)
    assert sorted(names.values()) == sorted((VALUES[0], VALUES[2]))
    assert [name.rpartition("-")[0] for name in sorted(names)] == ["api-keys", "hub"]
    referred = [each["secretRef"] for each in (await secretive.container())["env"] if "secretRef" in each]
    assert sorted(referred) == sorted(names)


async def test_a_new_value_is_a_new_name_and_a_new_revision(secretive: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one stays for a rollback; a value that didn't change keeps its name."""
    before = await stored(secretive)
    monkeypatch.setenv("TEST_API_KEYS", VALUES[1])
    await secretive.converge()
    after = await stored(secretive)
    assert before.items() < after.items()
    assert sorted(after.values()) == sorted(VALUES)
    assert len(await secretive.revisions()) == 2


async def test_values_are_shown_nowhere(secretive: Stack, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the plan, the status, the metrics, the log or the tags."""
    monkeypatch.setenv("TEST_API_KEYS", VALUES[1])
    plan = (await secretive.look()).plan
    await secretive.converge()
    told = [
        json.dumps(render.as_json(plan)),
        "\n".join(render.lines("chat", plan)),
        repr(plan),
        json.dumps(secretive.reconciler.statuses.snapshot().as_json()),
        secretive.reconciler.metrics.exposition().decode(),
        json.dumps((await secretive.live_app())["tags"]),
        logged.getvalue(),
    ]
    assert [value for value in VALUES for text in told if value in text] == []
    assert "containerApp" in logged.getvalue()


async def test_a_missing_secret_stops_the_app(secretive: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stalled with the variable's name; nothing is written; the last good endpoint stays."""
    monkeypatch.delenv("TEST_API_KEYS")
    written = secretive.writes()
    await secretive.one_pass(APP)
    assert secretive.told() == (
        "Stalled",
        "SecretNotFound",
        "secret api-keys: the environment variable TEST_API_KEYS isn't set",
    )
    assert written == secretive.writes()
    assert secretive.status().endpoint
