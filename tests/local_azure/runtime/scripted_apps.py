"""Small scripted apps as containers, and waiting on what a runtime tells instead of sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local_azure import replicas
from infra.local_azure.runtime import probes as defaults

# A web server in a few lines, so that it starts fast. `reply(path)` gives the status and the body.
SERVER = """
import asyncio, os, sys
NAME = os.environ.get("NAME", "")
def reply(path):
    return 200, NAME
{extra}
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    path = head.split()[1].decode()
    status, body = reply(path)
    lines = f"HTTP/1.1 {{status}} X", f"Content-Length: {{len(body)}}", "Connection: close", "", body
    writer.write("\\r\\n".join(lines).encode())
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ[{port!r}]))
    print("listening", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def server(extra: str = "", *, port: str = "PORT") -> str:
    """The source of a web app listening on the port in the variable `port`."""
    return SERVER.format(extra=extra, port=port)


class Apps:
    """Builds revisions whose container is a Python script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def revision(
        self,
        source: str,
        *,
        key: str = "app--one",
        target_port: int | None = None,
        probes: tuple[replicas.Probe, ...] = (),
        **values: Any,
    ) -> replicas.Revision:
        """With the default probes of an app that has a `target_port`, as the platform adds them."""
        script = self.folder / f"{key}.py"
        script.write_text(source)
        probed = defaults.complete(probes, target_port)
        container = self.container(("python", str(script)), probes=probed, **values)
        return self.with_container(container, key=key, target_port=target_port, **values)

    def container(
        self,
        command: tuple[str, ...],
        *,
        env: Mapping[str, str] | None = None,
        probes: tuple[replicas.Probe, ...] = (),
        mounts: tuple[replicas.Mount, ...] = (),
        **_: Any,
    ) -> replicas.Container:
        return replicas.Container(
            name="main",
            image="docker.io/library/app:1",
            command=command,
            args=(),
            env=env or {},
            mounts=mounts,
            probes=probes,
        )

    def with_container(
        self,
        container: replicas.Container,
        *,
        key: str = "app--one",
        count: int = 1,
        target_port: int | None = None,
        grace: float = 5.0,
        problem: str | None = None,
        **_: Any,
    ) -> replicas.Revision:
        return replicas.Revision(
            key=key,
            app=key.partition("--")[0],
            containers=(container,),
            replicas=count,
            target_port=target_port,
            grace=grace,
            variables={"CONTAINER_APP_NAME": key.partition("--")[0], "CONTAINER_APP_REVISION": key},
            problem=problem,
        )


class Told:
    """Waits until a condition holds, looking again whenever the runtime tells of a change."""

    def __init__(self, runtime: replicas.Runtime) -> None:
        self._news = asyncio.Event()
        runtime.changed = lambda key: self._news.set()

    async def until(self, condition: Callable[[], Any], *, within: float = 20.0) -> None:
        async with asyncio.timeout(within):
            while not condition():
                self._news.clear()
                await self._news.wait()


def probe(kind: str, **values: Any) -> replicas.Probe:
    """A probe with Kubernetes' defaults and what is given."""
    given: dict[str, Any] = {
        "path": "/",
        "port": 8080,
        "scheme": "HTTP",
        "headers": {},
        "initial_delay": 0.0,
        "period": 10.0,
        "timeout": 1.0,
        "success_threshold": 1,
        "failure_threshold": 3,
    }
    return replicas.Probe(kind=kind, **{**given, **values})


async def lines(runtime: replicas.Runtime, key: str, *, until: str | None = None) -> list[str]:
    """The first replica's log; with `until`, followed up to the line that holds it."""
    name = runtime.replicas(key)[0].name
    found = []
    log = runtime.logs(key, name, "main", tail=1000, follow=until is not None)
    async with asyncio.timeout(20):
        async for _, line in log:
            found.append(line)
            if until is not None and until in line:
                break
    return found


def alive(pid: int) -> bool:
    """Whether the process is there and not just waiting to be reaped."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
