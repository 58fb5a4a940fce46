"""Health probes: the defaults, the counting of results, and one check over HTTP or TCP.

When a check is due and what a verdict leads to is the container's business, not this module's.

Documented: learn.microsoft.com/azure/container-apps/health-probes and, for how results are counted,
kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import aiohttp

from infra.local_azure import replicas

STARTUP, READINESS, LIVENESS = "Startup", "Readiness", "Liveness"
USER_AGENT = "kube-probe/1.31"


@dataclass(frozen=True)
class Result:
    """One check. `refused` says that nobody listens on the port."""

    ok: bool
    detail: str
    refused: bool


class Verdict(Enum):
    """A threshold was reached."""

    PASSED = "passed"
    FAILED = "failed"


class Tally:
    """Counts results in a row against a probe's thresholds."""

    def __init__(self, probe: replicas.Probe) -> None:
        self._needed = {True: max(1, probe.success_threshold), False: max(1, probe.failure_threshold)}
        self._last: bool | None = None
        self._run = 0

    def add(self, ok: bool) -> Verdict | None:
        """The verdict this result brings about; None while it is below its threshold or nothing new."""
        self._run = self._run + 1 if ok == self._last else 1
        self._last = ok
        if self._run != self._needed[ok]:
            return None
        return Verdict.PASSED if ok else Verdict.FAILED


def complete(given: Sequence[replicas.Probe], target_port: int | None) -> tuple[replicas.Probe, ...]:
    """`given` and, for an app with ingress, the default of each kind that is missing.

    Documented (health-probes, "Default configuration"): TCP on the target port; Startup every 1 s, timeout 3 s,
    240 failures; Readiness every 5 s, timeout 5 s, 48 failures. Liveness has no numbers there beyond the
    page's example (every 10 s, timeout 1 s, 3 failures), which are Kubernetes' own. They belong to the main
    container only; the revision doesn't show them (recorded: revisions-list-failed). The page leaves out the
    Consumption profile, but a recorded app there failed for a port nobody listened on: they are added everywhere
    (assumed).
    """
    if target_port is None:
        return tuple(given)
    kinds = {probe.kind for probe in given}
    defaults = (
        _tcp(STARTUP, target_port, delay=1, period=1, timeout=3, failures=240),
        _tcp(READINESS, target_port, delay=3, period=5, timeout=5, failures=48),
        _tcp(LIVENESS, target_port, delay=0, period=10, timeout=1, failures=3),
    )
    return (*given, *(probe for probe in defaults if probe.kind not in kinds))


def _tcp(kind: str, port: int, *, delay: float, period: float, timeout: float, failures: int) -> replicas.Probe:
    return replicas.Probe(
        kind=kind,
        path=None,
        port=port,
        scheme="",
        headers={},
        initial_delay=delay,
        period=period,
        timeout=timeout,
        success_threshold=1,
        failure_threshold=failures,
    )


async def check(probe: replicas.Probe, port: int, *, timeout_s: float, session: aiohttp.ClientSession) -> Result:
    """Ask once on the loopback `port`; never raises for what the container does. `timeout_s` in real seconds."""
    ask = _connect(port) if probe.path is None else _get(probe, port, session)
    try:
        async with asyncio.timeout(timeout_s):
            return await ask
    except TimeoutError:
        return Result(False, f"no answer within {timeout_s:g} s", False)
    except ConnectionRefusedError:
        return Result(False, "connection refused", True)
    except aiohttp.ClientConnectorError as error:
        return Result(False, str(error.os_error), isinstance(error.os_error, ConnectionRefusedError))
    except (OSError, aiohttp.ClientError) as error:
        return Result(False, str(error) or type(error).__name__, False)


async def _connect(port: int) -> Result:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return Result(True, "connected", False)


async def _get(probe: replicas.Probe, port: int, session: aiohttp.ClientSession) -> Result:
    """Documented: a status of 200 to 399 is a success. Kubernetes doesn't verify the certificate either."""
    path = "/" + (probe.path or "").lstrip("/")
    url = f"{(probe.scheme or 'http').lower()}://127.0.0.1:{port}{path}"
    headers = {"User-Agent": USER_AGENT, **probe.headers}
    async with session.get(url, headers=headers, allow_redirects=False, ssl=False) as answer:
        return Result(200 <= answer.status < 400, f"HTTP {answer.status}", False)
