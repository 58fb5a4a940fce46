"""An app of `site` in a fresh local Azure with real processes, and `acaops run` over it: releases are written, and what
comes of them is looked at from outside, at the app's address, at `/status` and in Azure.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from azure.core.exceptions import AzureError
from azure.mgmt.appcontainers.aio import ContainerAppsAPIClient

from controller.cloud import network
from infra.local_azure import lifecycle
from tests.bench import load, rows, serving, site
from tests.e2e import azure, running
from tests.e2e.folder import APP, GROUP

LOOK = 0.25
SETTLED = 1.5
"""Seconds for which a settled status and the right answers must last; the load goes on meanwhile."""

PATIENCE = 60.0
"""Seconds after which a rollout that hasn't settled is given up."""

FIRST = "good-0"

Json = Mapping[str, Any]


@dataclass
class Stage:
    """`env` is for processes that are to find Azure, `serving` the version that answers."""

    place: site.Site
    daemon: running.Daemon
    client: ContainerAppsAPIClient
    http: aiohttp.ClientSession
    env: Mapping[str, str]
    url: str = ""
    serving: str = FIRST

    async def ready(self) -> None:
        """Until the first release serves."""
        self.url = str((await self.daemon.ready(within=PATIENCE))["endpoint"])

    async def status(self) -> Json:
        """The app's, as `/status` has it."""
        objects = (await self.daemon.status())["objects"]
        return next((one for one in objects if one["kind"] == "InferenceApp"), {})

    async def answer(self) -> Json:
        """What the app answers, over a connection of its own; empty where there is no good answer."""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(load.TIMEOUT), self.http.get(self.url) as answer:
                return dict(await answer.json()) if answer.status == 200 else {}
        return {}

    async def through(self, case: rows.Case, *, version: str) -> rows.Seen:
        """Write the release under load, and wait until it settled, one way or the other."""
        names = set(await self._weights())
        seen = rows.Seen(version, self.serving, time.monotonic())
        async with load.asking(self.url, env=self.env) as asked:
            revision = (await self.status())["sourceRevision"]
            seen.began = time.monotonic()
            self.place.release(serving.Behaviour(version, case.does, case.seconds))
            await self._settle(seen, case, names=names, revision=revision)
        seen.answers = asked.answers
        seen.last = (await self.answer()).get("version")
        self.serving = seen.last or seen.before
        return seen

    async def mend(self, version: str) -> None:
        """A good release in the place of whatever answers now, for what comes next."""
        self.place.release(serving.Behaviour(version))

        async def look() -> bool:
            status, answer = await asyncio.gather(self.status(), self.answer())
            return rows.told(status) == "Ready Ready" and answer.get("version") == version

        await running.until(look, f"{version} answers", within=PATIENCE, every=LOOK)
        self.serving = version

    async def _settle(self, seen: rows.Seen, case: rows.Case, *, names: set[str], revision: str) -> None:
        """Look again and again; `ended` is when what then lasted began."""
        expected = (seen.version, "Ready") if case.good else (seen.before, "Stalled")
        held: float | None = None
        while (now := time.monotonic()) < seen.began + PATIENCE:
            seen.status, answer, weights = await asyncio.gather(self.status(), self.answer(), self._weights())
            seen.weights.append(rows.Weight(now, sum(part for name, part in weights.items() if name not in names)))
            kind = rows.told(seen.status).split()[0] if seen.status["sourceRevision"] != revision else ""
            held = (held or now) if (answer.get("version"), kind) == expected else None
            seen.ended = held or now
            if held is not None and now - held >= SETTLED:
                seen.settled = True
                return
            await asyncio.sleep(LOOK)

    async def _weights(self) -> Mapping[str, int]:
        """The traffic by revision name, the latest one by its name too."""
        try:
            app = await self.client.container_apps.get(GROUP, APP)
        except AzureError:
            return {}
        assert app.configuration is not None
        assert app.configuration.ingress is not None
        entries = app.configuration.ingress.traffic or ()
        names = ((one.revision_name or app.latest_revision_name or "", one.weight or 0) for one in entries)
        return dict(names)


@contextlib.asynccontextmanager
async def stage(root: Path, *, rollout: Json, time_scale: float) -> AsyncIterator[Stage]:
    """Nothing of it is left but `root` afterwards, with the logs."""
    place = site.Site(root / "repo", rollout)
    place.make(serving.Behaviour(FIRST))
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(lifecycle.serve_child(root / "azure", port=0, time_scale=time_scale))
        env = running.environ(server)
        client = await stack.enter_async_context(azure.container_apps(server))
        context = network.trust()
        context.load_verify_locations(cafile=str(server.ca))
        http = await stack.enter_async_context(network.session(context, for_sdk=False))
        daemon = await stack.enter_async_context(running.daemon(place.state, env=env, log=root / "run.log"))
        one = Stage(place, daemon, client, http, env)
        await one.ready()
        yield one
        await daemon.stop()
