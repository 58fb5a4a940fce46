"""The role that `infra/controller/role.bicep` gives the controller, against what the controller asks of ARM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import server
from tests.reconcile import test_adoption, test_prune
from tests.reconcile.stack import APP, GROUP, Stack, app, environment, running
from tests.reconcile.test_key_rotation import rotate
from tests.reconcile.test_prune import two, two_once
from tests.unit.infra import bicep

__all__ = ["two", "two_once"]

ROLE = Path(__file__).parents[2] / "infra" / "controller" / "role.bicep"
VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
SECRETS: dict[str, Any] = {
    "env": [{"name": "KEYS", "secretRef": "keys"}],
    "secrets": [{"name": "keys", "fromEnv": "TEST_ROLE_KEYS"}],
}
JOIN = "Microsoft.App/managedEnvironments/join/action"
"""Documented: asked, beside the app's own write, of whoever puts an app into an environment."""

LOG = "Microsoft.App/containerApps/logstream/action"
"""Documented: a data action, asked of whoever reads the log stream of a container (built-in role Container Apps
Operator)."""


def action(method: str, path: str) -> str:
    """The Azure RBAC action that a request to ARM needs; POST: the last word of the path is what is done."""
    words = path.strip("/").split("/")
    assert words[0] == "subscriptions", path
    if words[-1] == "logstream":
        return LOG
    if "providers" not in words:
        resource = {2: "subscriptions", 4: "subscriptions/resourceGroups"}[len(words)]
        return f"Microsoft.Resources/{resource}/{VERBS[method]}"
    namespace, *rest = words[words.index("providers") + 1 :]
    if method == "POST":
        *rest, verb = rest
        return "/".join([namespace, *rest[::2], verb, "action"])
    return "/".join([namespace, *rest[::2], VERBS[method]])


def needed(requests: list[server.Served]) -> set[str]:
    """In lower case: actions are compared so."""
    asked = [(one.method, one.path) for one in requests if one.path.startswith("/subscriptions")]
    actions = {action(method, path) for method, path in asked}
    if any(one.endswith("containerApps/write") for one in actions):
        actions.add(JOIN)
    return {one.lower() for one in actions}


def granted(**parameters: object) -> list[str]:
    group = bicep.Group("00000000-0000-0000-0000-000000000000", GROUP)
    role = bicep.deploy(bicep.read(ROLE), group=group, parameters={"principalId": "principal", **parameters})
    (permission,) = role.resource("role").body["properties"]["permissions"]
    assert (permission["notActions"], permission.keys()) == ([], {"actions", "notActions", "dataActions"})
    return [str(one) for one in (*permission["actions"], *permission["dataActions"])]


@dataclass
class Journal:
    """What controllers sent, without what the tests themselves ask in between."""

    requests: list[server.Served] = field(default_factory=list)

    async def converge(self, stack: Stack) -> None:
        """Until all is Ready, and then one round more."""
        since = len(stack.local.requests)
        await stack.settle()
        await stack.one_round()
        self.requests += stack.local.requests[since:]
        assert {stack.told(key)[0] for key in stack.source.keys} == {"Ready"}

    async def passes(self, stack: Stack, count: int) -> None:
        since = len(stack.local.requests)
        for _ in range(count):
            await stack.one_pass(APP)
        self.requests += stack.local.requests[since:]


@asynccontextmanager
async def in_a_group(root: Path) -> AsyncIterator[Stack]:
    """A controller whose resource group is there, as its role demands."""
    async with running(root) as stack:
        await stack.arm("PUT", stack.ids.group, {"location": "westus3"})
        yield stack


async def built_and_kept(stack: Stack, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is created; content, a secret, scale and quota change; drift is put right; both keys are rotated;
    somebody stops the revision; one takes over from another beside it; one crashes."""
    monkeypatch.setenv("TEST_ROLE_KEYS", "one")
    stack.write(environment(), app(**SECRETS))
    await journal.converge(stack)
    stack.restart()
    await journal.converge(stack)
    (stack.code / "app.py").write_text("print('two')\n")
    await journal.converge(stack)
    monkeypatch.setenv("TEST_ROLE_KEYS", "two")
    await journal.converge(stack)
    await drift(stack)
    await journal.converge(stack)
    storage = {**environment()["spec"]["storage"], "shareQuotaGiB": 2048}
    stack.write(environment(storage=storage, tags={"team": "one"}), app(scale={"maxReplicas": 3}, **SECRETS))
    await journal.converge(stack)
    await rotate(stack, "key1", "key2")
    await journal.converge(stack)
    await stack.arm("POST", f"{(await stack.revisions())[-1]['id']}/deactivate")
    await journal.converge(stack)
    beside = {"rollout": {"strategy": "BlueGreen"}, "env": [{"name": "MODE", "value": "new"}]}
    stack.write(environment(storage=storage), app(**beside))
    await journal.converge(stack)
    stack.write(environment(storage=storage), app(env=[{"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}]))
    await journal.passes(stack, 6)


async def drift(stack: Stack) -> None:
    """Somebody takes the app's variables away."""
    live: dict[str, Any] = await stack.live_app()
    template = live["properties"]["template"]
    template["containers"][0]["env"] = []
    await stack.arm("PATCH", live["id"], {"properties": {"template": template}})


async def mirrored(stack: Stack, journal: Journal) -> None:
    """The other way of publishing, from nothing."""
    stack.write(environment(), app(release="Mirror", rollout={"check": {"path": "/readyz", "successes": 1}}))
    await journal.converge(stack)


async def test_the_role_is_what_a_full_life_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every action that any request needs is granted, and every action that is granted was needed."""
    journal = Journal()
    async with in_a_group(tmp_path / "built") as stack:
        await built_and_kept(stack, journal, monkeypatch)
    async with in_a_group(tmp_path / "mirrored") as stack:
        await mirrored(stack, journal)
    async with running(tmp_path / "adopted") as stack:
        await test_adoption.made_by_hand(stack)
        await journal.converge(stack)
    given = [one.lower() for one in granted()]
    assert len(given) == len(set(given))
    assert set(given) == needed(journal.requests)


async def test_pruning_asks_for_what_it_is_given(two: Stack) -> None:
    """An app and all of an Environment go: five actions more, and only where the role is made for pruning."""
    since = len(two.local.requests)
    two.write(test_prune.other())
    await test_prune.rounds(test_prune.pruner(two, mass=True))
    beyond = needed(two.local.requests[since:]) - {one.lower() for one in granted()}
    assert beyond == {one.lower() for one in granted(prune=True)} - {one.lower() for one in granted()}
    assert len(beyond) == 5


async def test_nothing_is_asked_outside_of_the_group(tmp_path: Path) -> None:
    """No subscription, no list of providers, no tenant: the role is given in the resource group."""
    journal = Journal()
    async with in_a_group(tmp_path) as stack:
        await journal.converge(stack)
        group = stack.ids.group.lower()
    asked = {one.path.lower() for one in journal.requests if one.path.startswith(("/subscriptions", "/providers"))}
    assert [path for path in asked if path != group and not path.startswith(f"{group}/")] == []


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/subscriptions/s", "Microsoft.Resources/subscriptions/read"),
        ("PUT", "/subscriptions/s/resourcegroups/g", "Microsoft.Resources/subscriptions/resourceGroups/write"),
        ("DELETE", "/subscriptions/s/resourceGroups/g/providers/N/a/1", "N/a/delete"),
        ("GET", "/subscriptions/s/resourceGroups/g/providers/N/a/1/b", "N/a/b/read"),
        ("PATCH", "/subscriptions/s/resourceGroups/g/providers/N/a/1/b/2", "N/a/b/write"),
        ("POST", "/subscriptions/s/resourceGroups/g/providers/N/a/1/listKeys", "N/a/listKeys/action"),
        ("GET", "/subscriptions/s/providers/N/locations/west/operations/1", "N/locations/operations/read"),
    ],
)
def test_requests_need_actions(method: str, path: str, expected: str) -> None:
    """As Azure's documentation of resource provider operations names them."""
    assert action(method, path) == expected
