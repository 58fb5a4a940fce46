"""One secret gets a new value and another is removed, while an inactive revision still refers to both of before."""

from __future__ import annotations

import pytest

from tests.reconcile.stack import Stack, app, environment

ENV = [{"name": "KEY", "secretRef": "key"}, {"name": "TOKEN", "secretRef": "token"}]
SECRETS = [{"name": "key", "fromEnv": "TEST_KEY"}, {"name": "token", "fromEnv": "TEST_TOKEN"}]


async def stored(stack: Stack) -> dict[str, str]:
    answer = await stack.arm("POST", f"{stack.ids.app('chat')}/listSecrets")
    return {each["name"].rpartition("-")[0] + "=" + each["value"]: each["name"] for each in answer["value"]}


async def test_old_values_stay_as_long_as_a_listed_revision_names_them(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new name and a new revision for the new value; the others go with the last revision that names them."""
    monkeypatch.setenv("TEST_KEY", "one")
    monkeypatch.setenv("TEST_TOKEN", "hub")
    stack.write(environment(), app(env=ENV, secrets=SECRETS))
    await stack.converge()
    monkeypatch.setenv("TEST_KEY", "two")
    stack.write(environment(), app(env=ENV[:1], secrets=SECRETS[:1]))
    await stack.converge()
    names = await stored(stack)
    assert set(names) == {"key=one", "key=two", "token=hub"}
    assert {each["secretRef"] for each in (await stack.container())["env"] if "secretRef" in each} == {names["key=two"]}

    live = await stack.live_app()
    await stack.arm("PATCH", live["id"], {"properties": {"configuration": {"maxInactiveRevisions": 0}}})
    monkeypatch.setenv("TEST_KEY", "three")
    await stack.converge()
    monkeypatch.setenv("TEST_KEY", "four")
    await stack.converge()
    assert "key=one" not in await stored(stack)
