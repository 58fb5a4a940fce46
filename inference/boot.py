"""The start and the end of the process: binds the port at once, loads behind it, ends with a status that says why.

A failed load is answered for a while, with its reason, and then ends the process with status 1: what is missing may
come later, only a new start looks for it, and a container that ends is what tells the platform that something is wrong.

Imports uvicorn, pydantic's secrets and the standard library only: the port answers within half a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from typing import NoReturn

from inference import logs, process, server, settings, status

_LOG = logging.getLogger("inference.boot")
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
}
LINGER = 15.0
"""Seconds a process that failed to load stays up with its reason."""
_BACKLOG = 2048
_UNUSABLE = 2


def main() -> NoReturn:
    """Run until SIGTERM or SIGINT, and end the process.

    Exit status: 0 after a drain, 1 when loading failed, 2 without a usable port, 128 and the signal's number when a
    second signal cut the drain short.
    """
    level = os.environ.get("LOG_LEVEL", "").strip()
    logs.configure(level if level in settings.LOG_LEVELS else "INFO")
    os.environ.update(_QUIET)
    code = asyncio.run(_run())
    logging.shutdown()
    sys.stdout.flush()
    # A thread in the middle of an import or of a model step must not keep a drained process alive.
    os._exit(code)


async def _run() -> int:
    try:
        port = settings.port(os.environ)
        listener = socket.create_server(("0.0.0.0", port), backlog=_BACKLOG)
    except (settings.SettingsError, OSError) as error:
        logs.event(_LOG, "load_failed", level=logging.ERROR, reason=f"SettingsInvalid: {error}")
        return _UNUSABLE
    with listener:
        return await serve(listener)


async def serve(listener: socket.socket, *, linger: float = LINGER) -> int:
    """Serve on `listener` until told to end, or for `linger` seconds after a failed load; the exit status."""
    asyncio.get_running_loop().set_exception_handler(logs.of_loop)
    running = process.Process(status.Status(release=os.environ.get("ACAOPS_RELEASE") or None))
    serving = server.Server(running.shell, running.drain)
    loading = asyncio.create_task(running.run())
    loading.add_done_callback(lambda _: serving.end_after(linger) if running.state.stage == status.FAILED else None)
    try:
        await serving.on(listener)
    finally:
        loading.cancel()
        await asyncio.wait({loading}, timeout=1)
        await running.close(at_once=serving.forced is not None)
    if running.state.stage == status.FAILED:
        return 1
    return 128 + serving.forced if serving.forced is not None else 0
