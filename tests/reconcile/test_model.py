"""The model of an app: a new release waits until its files are on the share, and must answer with their digests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import loop, preflighting
from controller.sources import content
from infra.local_azure.runtime import simulated
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

MODEL = {"base": "models/phi", "adapter": "models/pirate"}
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FILES = {
    "models/phi/config.json": json.dumps({"model_type": "phi3"}),
    "models/phi/model.safetensors": "weights",
    "models/pirate/adapter_config.json": json.dumps({"peft_type": "LORA", "base_model_name_or_path": "m/phi"}),
    "models/pirate/adapter_model.safetensors": "weights",
}


class Time:
    """A clock that moves by the test's hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def begun(stack: Stack, **spec: Any) -> None:
    """The share is there, and of the app nothing yet."""
    stack.write(environment(), app(**spec))
    while not loop.settled(stack.reconciler.statuses.get(ENVIRONMENT)):
        await stack.one_pass(ENVIRONMENT)


def put(stack: Stack, *paths: str) -> None:
    """Upload these files as somebody else would."""
    for path in paths:
        _put(stack.share / path, FILES[path])


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def found(stack: Stack) -> list[str]:
    """What `acaops plan` finds of the app."""
    views = {APP: await stack.look()}
    told = await preflighting.findings(stack.cloud, stack.source, views, memory=content.Memory())
    return [one.found.message for one in told[APP]]


async def test_a_first_release_waits_for_its_model(stack: Stack) -> None:
    """File by file, and goes on by itself with the last one; then the share isn't asked any more."""
    stack.reconciler.memory.sparing = True
    await begun(stack, model=MODEL)
    lacking = [
        ("models/phi/config.json", "spec.model.base: models/phi isn't on the share, or is empty"),
        ("models/phi/model.safetensors", "spec.model.base: models/phi has no weights as *.safetensors"),
        ("models/pirate/adapter_config.json", "spec.model.adapter: models/pirate isn't on the share, or is empty"),
        (
            "models/pirate/adapter_model.safetensors",
            "spec.model.adapter: models/pirate/adapter_model.safetensors isn't on the share",
        ),
    ]
    for path, told in lacking:
        for _ in range(3):
            await stack.one_pass(APP)
        kind, reason, message = stack.told()
        assert (kind, reason) == ("Reconciling", "ModelNotFound")
        assert f"waiting for the model: {told}" in message
        assert stack.requeues[APP].kind == "backoff"
        assert f"{told}; upload it: the release waits for it" in await found(stack)
        assert await stack.arm("GET", stack.ids.app(APP[1])) is None
        put(stack, path)
    await stack.converge()
    assert await found(stack) == []
    env = await stack.env()
    assert (env["BASE_MODEL_DIR"], env["ADAPTER_DIR"]) == ("/mount/models/phi", "/mount/models/pirate")
    asked = len(stack.local.requests)
    await stack.one_pass(APP)
    assert [one.path for one in stack.local.requests[asked:] if "/models/phi" in one.path] == []


async def test_what_serves_stays_until_the_new_model_is_there(stack: Stack) -> None:
    """With Recreate too: nothing is stopped for a release that couldn't start."""
    recreate = {"strategy": "Recreate"}
    stack.write(environment(), app(rollout=recreate))
    await stack.converge()
    stack.write(environment(), app(rollout=recreate, model=MODEL))
    for _ in range(3):
        await stack.one_round()
    assert "waiting for the model: spec.model.base: models/phi isn't on the share" in stack.message()
    (only,) = await stack.revisions()
    assert (only["properties"]["active"], only["properties"]["healthState"]) == (True, "Healthy")
    put(stack, *FILES)
    await stack.converge()
    assert (await stack.env())["ADAPTER_DIR"] == "/mount/models/pirate"


async def test_hostile_files_are_told_and_hold_nothing_up(stack: Stack) -> None:
    """Whoever can write to the share can't make the controller read without end, nor repeat what is written there."""
    await begun(stack, model=MODEL)
    put(stack, *FILES)
    _put(stack.share / "models/phi/config.json", "s3cret" * 1_000_000)
    _put(stack.share / "models/pirate/adapter_config.json", '{"s3cret": ')
    assert [one for one in await found(stack) if "spec.model" in one] == [
        "unknown: spec.model.base: models/phi/config.json is larger than 1024 KiB, and wasn't looked into",
        "spec.model.adapter: models/pirate/adapter_config.json isn't JSON (line 1, column 12); upload it again",
    ]
    weights: Any = (await stack.look()).seen.weights  # type: ignore[union-attr]
    assert len(weights.base.texts["config.json"]) == 1024 * 1024 + 1
    await stack.converge()


async def test_a_file_in_a_folders_place(stack: Stack) -> None:
    """Counts as a folder that isn't there."""
    await begun(stack, model={"base": "models"})
    _put(stack.share / "models", "a file")
    for _ in range(3):
        await stack.one_pass(APP)
    assert "spec.model.base: models isn't on the share" in stack.message()


async def test_a_release_that_serves_another_model_is_gone_back_from(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its check fails with both digests; the release before it, with a digest of its own, serves again."""
    told = simulated.Simulated.answer
    monkeypatch.setattr(
        simulated.Simulated, "answer", lambda self, key: {**told(self, key), "model_digest": A, "adapter_digest": A}
    )
    time = Time()
    stack.restart(now=time)
    rollout = {"check": {"path": "/readyz", "successes": 1}, "deadline": "1m"}
    await begun(stack, rollout=rollout, model={**MODEL, "baseDigest": A, "adapterDigest": A})
    put(stack, *FILES)
    await stack.converge()
    good = stack.status().release

    stack.write(environment(), app(rollout=rollout, model={**MODEL, "baseDigest": A, "adapterDigest": B}))
    while "answered 200" not in stack.message(APP):
        await stack.one_round()
    assert f"answered 200: adapter_digest is {A}, wanted {B}" in stack.message(APP)
    assert stack.told()[0] == "Reconciling"
    time.now += timedelta(seconds=90)
    for _ in range(12):
        await stack.one_round()
    kind, reason, message = stack.told()
    assert (kind, reason) == ("Stalled", "CheckFailed")
    assert "was rejected: CheckFailed" in message
    failure: Any = stack.status().failure
    assert f"adapter_digest is {A}, wanted {B}" in failure.message
    assert stack.status().release == good
