"""The command `python -m infra.local_azure serve`: one server on one state folder, until it is told to stop.

It prints one line of JSON once it listens, and at the end one with the requests it refused, by bucket, if it refused
any. SIGTERM and SIGINT close it in order; a second one ends it at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from infra.local_azure import clock, lifecycle, listener, scenario, server, settings
from infra.local_azure.arm import subscriptions

FORCED = 130
PARENT_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after an orderly stop, 1 when the server can't start, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    configured = _settings(options)
    try:
        with lifecycle.holding(configured.state):
            asyncio.run(_serve(configured, exit_with_parent=options.exit_with_parent))
    except (lifecycle.LifecycleError, listener.PortInUse, scenario.ScenarioError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _settings(options: argparse.Namespace) -> settings.Settings:
    return settings.Settings(
        state=options.state.absolute(),
        port=options.port,
        time_scale=options.time_scale,
        subscriptions=tuple(options.subscription or [settings.SUBSCRIPTION]),
        processes=not options.no_processes,
        throttled=not options.no_throttling,
        resource_requests_rate=options.resource_requests_rate,
        unregistered=tuple(options.unregistered or ()),
        gpu_limit=options.gpu_limit,
        slow_gpu=options.slow_gpu,
        taken_accounts=tuple(options.taken_account or ()),
        one_at_a_time=not options.parallel_apps,
        scenario=options.scenario.absolute() if options.scenario is not None else None,
    )


async def _serve(configured: settings.Settings, *, exit_with_parent: bool) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    watch = asyncio.create_task(_outlive_no_parent(os.getppid(), stop)) if exit_with_parent else None
    async with server.Server(configured, clock.ScaledClock(configured.time_scale)) as local:
        running = _running(local)
        lifecycle.announce(running)
        print(json.dumps({"event": "ready", "url": running.url, "state": str(running.state)}), flush=True)
        await stop.wait()
    if local.throttled:
        print(json.dumps({"event": "throttled", **local.throttled}), flush=True)
    if watch is not None:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


def _running(local: server.Server) -> lifecycle.Running:
    return lifecycle.Running(
        state=local.settings.state,
        pid=os.getpid(),
        url=local.url,
        port=local.port,
        ca=local.ca,
        tenant=local.identity.tenant,
        subscription=local.settings.subscriptions[0],
        client_id=local.identity.client_id,
    )


def _on_signals(stop: asyncio.Event) -> None:
    def told() -> None:
        if stop.is_set():
            os._exit(FORCED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)


async def _outlive_no_parent(parent: int, stop: asyncio.Event) -> None:
    """Stop once `parent` is gone. Asking works on every system; a death signal would be tied to the thread
    that started us."""
    while not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        await asyncio.sleep(PARENT_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local_azure", description="An embedded local Azure.")
    serve = parser.add_subparsers(required=True, metavar="serve").add_parser(
        "serve", help="run the server", epilog=scenario.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    serve.add_argument("--state", type=Path, required=True, help="folder that keeps everything")
    serve.add_argument(
        "--port", type=_port, default=settings.PORT, help="default %(default)s; 0 for any free one, then kept"
    )
    serve.add_argument(
        "--time-scale",
        type=_scale,
        default=settings.TIME_SCALE,
        help="how much faster than Azure things are provisioned; default %(default)s, 0 for at once",
    )
    serve.add_argument("--subscription", type=_subscription, action="append", help="a subscription id; may be repeated")
    serve.add_argument("--no-processes", action="store_true", help="run no containers, only look as if")
    serve.add_argument("--no-throttling", action="store_true", help="enforce none of ARM's limits of requests")
    serve.add_argument(
        "--resource-requests-rate",
        type=_rate,
        help="refill of the resource requests' buckets per second of Azure's time, which isn't documented; by default "
        "2.7 for apps, 0.33 for environments",
    )
    serve.add_argument(
        "--unregistered",
        action="append",
        choices=sorted(subscriptions.PROVIDERS),
        help="a resource provider that isn't registered yet; may be repeated",
    )
    serve.add_argument(
        "--gpu-limit",
        type=_count,
        default=settings.GPU_LIMIT,
        help="dedicated A100s granted in a region; default %(default)s, Azure's is 0",
    )
    serve.add_argument("--slow-gpu", action="store_true", help="an environment with dedicated GPUs takes 984 s")
    serve.add_argument(
        "--taken-account", action="append", metavar="NAME", help="a storage account's name somebody else has"
    )
    serve.add_argument("--parallel-apps", action="store_true", help="take writes to several apps of an environment")
    serve.add_argument("--scenario", type=Path, metavar="FILE", help="what goes wrong with replicas; see below")
    serve.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process ends")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(text)
    return port


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 <= scale < float("inf"):
        raise ValueError(text)
    return scale


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise ValueError(text)
    return rate


def _subscription(text: str) -> str:
    return str(uuid.UUID(text))


if __name__ == "__main__":
    sys.exit(main())
