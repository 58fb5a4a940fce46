"""What the Container Apps provider, the runtime and the ingress tell each other: values and two protocols.

The provider owns revisions and traffic; the runtime owns processes; the ingress only asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from infra.local_azure.scenario import Scenario


@dataclass(frozen=True)
class Mount:
    """`path` is the mount path inside the container; `folder` the share's folder (with the subPath applied)."""

    path: str
    folder: Path
    read_only: bool


@dataclass(frozen=True)
class Probe:
    """One probe in Container Apps' terms, defaults filled in. `kind` is Startup, Readiness or Liveness.

    `path` is None for a TCP probe. `port` is the port in the template, to be translated when it is the
    container's target port. Periods and delays are in Azure's seconds.
    """

    kind: str
    path: str | None
    port: int
    scheme: str
    headers: Mapping[str, str]
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int


@dataclass(frozen=True)
class Container:
    """`command` + `args` as in the template; `env` with secret references already resolved. `memory` is its limit in
    bytes, None for none."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    probes: tuple[Probe, ...]
    memory: int | None = None


@dataclass(frozen=True)
class Demand:
    """What one replica takes, `memory` in GiB, and where: `pool` names the machines behind the workload profile
    `profile` of one environment."""

    pool: str
    profile: str
    cores: float
    memory: float


@dataclass(frozen=True)
class Pool:
    """The machines behind one workload profile: at most `nodes` of them, None where each replica has one to itself.

    `cores`, `memory` (GiB) and `gpus` are one machine's. A replica takes one of its GPUs, or all where it has the
    machine to itself. Of the GPUs that run in all pools of the same `scope`, the quota `quota` grants `granted`.
    """

    nodes: int | None
    cores: float
    memory: float
    gpus: int
    quota: str
    scope: str
    granted: float


@dataclass(frozen=True)
class Revision:
    """All the runtime needs to run one revision.

    `key` is the revision's name, unique on the server. `problem` is set when the platform can't start it, e.g.
    a mount that fails; the containers then wait with that reason. `replicas` is how many to run. `variables`
    are the CONTAINER_APP_* the platform sets, without the replica's own name. Without a `demand` a replica fits
    anywhere. `unmountable` is asked at each new replica why its volumes can't be mounted, None when they can.
    """

    key: str
    app: str
    containers: tuple[Container, ...]
    replicas: int
    target_port: int | None
    grace: float
    variables: Mapping[str, str]
    problem: str | None
    demand: Demand | None = None
    unmountable: Callable[[], str | None] = field(default=lambda: None, compare=False)


@dataclass(frozen=True)
class ContainerStatus:
    """`state` is Waiting, Running or Terminated; `details` the service's words for it."""

    name: str
    container_id: str | None
    state: str
    details: str
    ready: bool
    started: bool
    restarts: int


@dataclass(frozen=True)
class Replica:
    """`state` is Running or NotRunning. `address` is (host, port) of the target port, None without ingress. `placed`
    is False while it waits for a machine."""

    name: str
    created: datetime
    state: str
    details: str
    containers: tuple[ContainerStatus, ...]
    address: tuple[str, int] | None
    placed: bool = True

    @property
    def ready(self) -> bool:
        return all(container.ready for container in self.containers)


class Runtime(Protocol):
    """Runs revisions. `changed` is told the key of a revision whose replicas changed state.

    `pools` is asked for the machines of a pool, by its name; None when there is no limit. `scenario` is what it plays.
    """

    scenario: Scenario
    changed: Callable[[str], None]
    pools: Callable[[str], Pool | None]

    def look(self) -> None:
        """What `pools` answers may have changed: place, soon, what waits for a machine."""

    def start(self, revision: Revision) -> None:
        """Run `revision`; returns at once. Starting a running key with another value rolls nothing: no-op."""

    def stop(self, key: str) -> None:
        """SIGTERM, then SIGKILL after the grace period; returns at once. `replicas` is empty once they ended."""

    def restart(self, key: str) -> None:
        """Stop and start every replica of a running revision."""

    def scale(self, key: str, count: int) -> None:
        """Run `count` replicas of a running revision from now on; 0 stops all. Missing ones start at once; surplus
        ones, the newest first, end as in `stop`. Nothing happens for a key that doesn't run."""

    def replicas(self, key: str) -> tuple[Replica, ...]: ...

    def crashing(self, key: str) -> tuple[str, ...]:
        """Names of the containers that keep crashing (in restart back-off), for the revision's Failed state."""

    def hint(self, key: str) -> str:
        """More words for runningStateDetails, e.g. a target port nobody listens on; mostly empty."""

    def logs(
        self, key: str, replica: str, container: str, *, tail: int, follow: bool
    ) -> AsyncIterator[tuple[datetime, str]]:
        """The container's output lines, oldest first, with the time each was read."""

    async def close(self) -> None:
        """Stop everything, wait for the processes to end, leave none behind."""


@dataclass(frozen=True)
class Scale:
    """How many replicas a revision may have: `least` to `most`, one for every `concurrent` requests at a time.

    `concurrent` is None where rules of another kind than HTTP's decide. `cooldown` is how long there must be no
    request before the last replica goes, where `least` is 0; in Azure's seconds.
    """

    least: int
    most: int
    concurrent: int | None
    cooldown: float


class Scaler(Protocol):
    """Keeps the count of revisions' replicas. `scaled` is told the key of a revision and the count it is to have."""

    scaled: Callable[[str, int], None]

    def watch(self, key: str, scale: Scale) -> None:
        """Keep the count of `key`, which has become ready with max(1, least) replicas, from now on."""

    def forget(self, key: str) -> None:
        """`key` stops or starts anew."""

    def noted(self, key: str, *, ready: bool) -> None:
        """Replicas of `key` changed; `ready` when one of them is ready."""


@dataclass(frozen=True)
class Target:
    """Where a request may go: a revision and its share of the traffic, 0 to 100."""

    key: str
    weight: int


@dataclass(frozen=True)
class Site:
    """One app's ingress. `external` False answers 404 to requests from outside the environment."""

    app: str
    external: bool
    allow_insecure: bool
    sticky: bool
    targets: tuple[Target, ...]


class Sites(Protocol):
    """Who answers at a host name."""

    def site(self, host: str) -> Site | None:
        """The site at `host` (lower case, no port), or None."""
