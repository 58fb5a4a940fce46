"""A controller over a state folder of its own, driven pass by pass, with the real SDK against a local Azure."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from controller import loop, memory, objects, reconcile
from controller.cloud import azure, port
from controller.model import identity
from controller.plan import planner
from controller.sources import manifest
from controller.status import store, summarize
from controller.telemetry import metrics
from infra.local_azure import clock, server
from tests.local_azure.conftest import Local, asking, serving

ENVIRONMENT = ("Environment", "gpu-west")
APP = ("InferenceApp", "chat")
GROUP = "rg-one"
MOST_ROUNDS = 25
PATIENCE = 20.0

Json = dict[str, Any]


def environment(**spec: Any) -> Json:
    """An Environment as YAML would have it; keyword arguments replace fields of its spec."""
    plain = {
        "subscriptionId": "00000000-0000-0000-0000-000000000000",
        "resourceGroup": GROUP,
        "location": "westus3",
        "storage": {"accountName": "accountone", "shareName": "models"},
        "logAnalytics": {"workspaceName": "logs-one"},
        "containerApps": {
            "environmentName": "env-one",
            "storageName": "mount",
            "workloadProfiles": [{"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 8}],
        },
    }
    metadata = {"name": ENVIRONMENT[1]}
    return {"apiVersion": "acaops/v1", "kind": "Environment", "metadata": metadata, "spec": {**plain, **spec}}


def app(name: str = APP[1], **spec: Any) -> Json:
    """An InferenceApp of one content folder, `code`, likewise."""
    plain = {
        "environmentRef": ENVIRONMENT[1],
        "appName": name,
        "image": "docker.io/pytorch/pytorch:2.9.0",
        "commands": ["python -m inference"],
        "content": [{"path": "../code", "target": "inference"}],
        "env": [{"name": "MODE", "value": "chat"}],
    }
    return {"apiVersion": "acaops/v1", "kind": "InferenceApp", "metadata": {"name": name}, "spec": {**plain, **spec}}


@dataclass
class Stack:
    """`folder` is the state folder, `code` the content folder beside it."""

    local: Local
    root: Path
    cloud: azure.Azure
    reconciler: reconcile.Reconciler = field(init=False)
    requeues: dict[store.Key, summarize.Requeue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.code.mkdir()
            (self.code / "app.py").write_text("print('one')\n")
            self.write(environment(), app())
        self.restart()

    @property
    def folder(self) -> Path:
        return self.root / "desired_state"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def ids(self) -> identity.Ids:
        environment = self.source.environments[0].object
        group = identity.group_id(environment.spec.subscription_id, environment.spec.resource_group)
        return identity.Ids(group, identity.names(environment, group_id=group))

    @property
    def source(self) -> manifest.Source:
        return manifest.load(self.folder)

    def write(self, *documents: Json) -> None:
        """The state folder's only file."""
        (self.folder / "state.yaml").write_text(yaml.safe_dump_all(documents))

    def restart(
        self,
        cloud: port.Cloud | None = None,
        *,
        allow: tuple[str, ...] = (),
        inventory: str = "one",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """A controller that remembers nothing."""
        self.reconciler = reconcile.Reconciler(
            cloud or self.cloud,
            store.Store(store.SourceStatus(str(self.folder))),
            metrics.Metrics(version="test", inventory=inventory),
            planner.Scope(inventory, allow),
            now,
            memory.Memory(),
        )

    async def look(self, key: store.Key = APP) -> objects.View:
        return await self.reconciler.look(self.source, key)

    async def one_pass(self, key: store.Key) -> store.ObjectStatus:
        """One pass over one object; the status must keep to the rules of kstatus."""
        self.requeues[key] = await self.reconciler.reconcile(self.source, key)
        status = self.status(key)
        assert summarize.check(status.conditions) == []
        return status

    async def one_round(self) -> None:
        for key in self.source.keys:
            await self.one_pass(key)

    async def settle(self, rounds: int = MOST_ROUNDS) -> None:
        """Rounds of passes until no object is under way any more. What was begun in Azure ends between rounds."""
        for _ in range(rounds):
            await self.one_round()
            if all(loop.settled(self.status(key)) is not None for key in self.source.keys):
                return
        raise AssertionError([self.told(key) for key in self.source.keys])

    async def converge(self) -> None:
        """`settle`, to Ready for everything, with nothing left to write."""
        await self.settle()
        assert [self.told(key) for key in self.source.keys if not loop.settled(self.status(key))] == []
        await self.one_round()
        assert [self.told(key) for key in self.source.keys if not loop.settled(self.status(key))] == []

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a status brings `condition` about."""
        changed = asyncio.Event()
        end = self.reconciler.statuses.subscribe(lambda _: changed.set())
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await changed.wait()
                    changed.clear()
        finally:
            end()

    def status(self, key: store.Key = APP) -> store.ObjectStatus:
        found = self.reconciler.statuses.get(key)
        assert found is not None, key
        return found

    def told(self, key: store.Key = APP) -> tuple[str, str, str]:
        """(type, reason, message) of the condition that people see first."""
        status = self.status(key)
        for kind in ("Stalled", "Reconciling", "Ready"):
            if found := status.condition(kind):
                return kind, found.reason, found.message
        raise AssertionError(status)

    def message(self, key: store.Key = APP) -> str:
        """What people see first; empty before the first pass."""
        return self.told(key)[2] if self.reconciler.statuses.get(key) else ""

    async def picture(self) -> Json:
        """Everything in Azure that two ways to the same end must agree on."""
        ids, group = self.ids, self.ids.group
        app = await self.live_app()
        apps = await self.arm("GET", f"{group}/providers/Microsoft.App/containerApps")
        storages = await self.arm("GET", f"{ids.environment}/storages")
        kinds = {"account": ids.account, "workspace": ids.workspace, "environment": ids.environment}
        return {
            "apps": [each["name"] for each in apps["value"]],
            "storages": [each["name"] for each in storages["value"]],
            "revisions": len(await self.revisions()),
            "template": app["properties"]["template"],
            "configuration": {**app["properties"]["configuration"], "ingress": None},
            "tags": {"app": app["tags"]} | {name: (await self.arm("GET", one))["tags"] for name, one in kinds.items()},
            "files": self.files(),
        }

    # What is in Azure, by plain requests.

    def writes(self) -> list[tuple[str, str]]:
        """(method, path) of everything sent so far that changes something, ARM's and the share's, in order."""
        arm = {id(each) for each in self.local.writes()}
        return [(each.method, each.path) for each in self.local.requests if id(each) in arm or _writes_to_share(each)]

    async def arm(self, method: str, resource_id: str, body: Any = None) -> Any:
        """A request to ARM; the body of a good answer."""
        async with asking(self.local) as ask:
            answer = await ask(method, resource_id, body)
            assert answer.status < 300 or answer.status == 404, answer
            return answer.body if answer.status < 300 else None

    async def live_app(self, name: str = APP[1]) -> Json:
        return dict(await self.arm("GET", self.ids.app(name)))

    async def container(self, name: str = APP[1]) -> Json:
        live = await self.live_app(name)
        return dict(live["properties"]["template"]["containers"][0])

    async def env(self, name: str = APP[1]) -> dict[str, str | None]:
        """The variables of the app's first container."""
        return {each["name"]: each.get("value") for each in (await self.container(name))["env"]}

    async def revisions(self, name: str = APP[1]) -> list[Json]:
        return list((await self.arm("GET", f"{self.ids.app(name)}/revisions"))["value"])

    @property
    def share(self) -> Path:
        """The share's files, on the local Azure's disk."""
        names = self.ids.names
        return self.local.server.settings.state / "shares" / names.account / names.share / "files"

    def files(self) -> dict[str, str]:
        """Every file on the share, as text; a bundle as its length."""
        found = (path for path in sorted(self.share.rglob("*")) if path.is_file())
        return {path.relative_to(self.share).as_posix(): _shown(path) for path in found}


def _writes_to_share(served: server.Served) -> bool:
    return not served.path.startswith("/subscriptions") and served.method in ("PUT", "PATCH", "DELETE")


def _shown(path: Path) -> str:
    data = path.read_bytes()
    return f"{len(data)} bytes" if path.suffix == ".gz" else data.decode()


@contextlib.asynccontextmanager
async def running(root: Path, *, time: clock.Clock | None = None, **settings: Any) -> AsyncIterator[Stack]:
    """A stack on a fresh local Azure, without provisioning times unless `time` says so. `settings` are the local
    Azure's own."""
    async with serving(root / "azure", time or clock.ScaledClock(0), **settings) as local:
        with mock.patch.dict(os.environ, credentials(local)):
            async with azure.Azure(local.url) as cloud:
                yield Stack(local, root / "repo", cloud)


def credentials(local: Local) -> Mapping[str, str]:
    return {
        # Without it the chain asks a link-local address.
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "SSL_CERT_FILE": str(local.ca),
        "AZURE_TENANT_ID": local.tenant,
        "AZURE_CLIENT_ID": local.client_id,
        "AZURE_CLIENT_SECRET": local.client_secret,
    }
