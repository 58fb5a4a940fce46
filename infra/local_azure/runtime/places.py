"""Which replicas have a machine, and which wait for one, in the order in which they came.

It knows pools, demands and the scenario's capacity and quota; of a replica only that it wants a place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.local_azure import clock, replicas, scenario

GPU = "nvidia.com/gpu"
_SLACK = 1e-9
"""Decimal fractions of a core aren't exact."""


@dataclass(frozen=True)
class Shortage:
    """Why there is no place, in the words of a container's and of a revision's details.

    Assumed: the scheduler's words in Kubernetes, with the service's "on legion." (recorded of other reasons); those
    for a quota are made up.
    """

    container: str
    revision: str


@dataclass(eq=False)
class Place:
    """What a replica has, or waits for; `shortage` is None once it has it. `changed` is called when that changes."""

    demand: replicas.Demand
    changed: Callable[[], None]
    shortage: Shortage | None = None


class Places:
    """All machines of a runtime. Places are given in the order of asking, to whoever fits."""

    def __init__(
        self, time: clock.Clock, played: scenario.Scenario, pools: Callable[[str], replicas.Pool | None]
    ) -> None:
        self._time = time
        self._scenario = played
        self._pools = pools
        self._waiting: list[Place] = []
        self._nodes: dict[str, list[list[Place]]] = {}
        self._growing: dict[tuple[str, scenario.Rule], bool] = {}
        self._looking = False
        played.on_change.append(self.look)

    def want(self, demand: replicas.Demand, changed: Callable[[], None]) -> Place:
        """A place at once, or a turn in the queue, until `leave`."""
        place = Place(demand, changed)
        self._waiting.append(place)
        self._try(place)
        return place

    def leave(self, place: Place) -> None:
        """Give it up; whoever waits may get it now."""
        if place in self._waiting:
            self._waiting.remove(place)
        nodes = self._nodes.get(place.demand.pool, [])
        for node in nodes:
            if place in node:
                node.remove(place)
        self._nodes[place.demand.pool] = [node for node in nodes if node]
        self._settle()

    def look(self) -> None:
        """Limits may have changed: try, soon, for all that wait. Not at once, for whoever says so is in the middle of
        a change."""
        if self._waiting and not self._looking:
            self._looking = True
            self._time.later(0.0, self._settle)

    def close(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()

    def _settle(self) -> None:
        self._looking = False
        before = {place: place.shortage for place in self._waiting}
        for place in before:
            self._try(place)
        for place, shortage in before.items():
            if place.shortage != shortage:
                place.changed()

    def _try(self, place: Place) -> None:
        demand = place.demand
        pool = self._pools(demand.pool)
        nodes = self._nodes.setdefault(demand.pool, [])
        node = next((one for one in nodes if pool and _room(pool, one, demand)), None)
        place.shortage = self._full(demand, pool, nodes)
        if place.shortage is None and node is None and pool is not None:
            place.shortage = self._short(demand, pool, nodes)
        if place.shortage is None:
            self._waiting.remove(place)
            if node is None:
                nodes.append([place])
            else:
                node.append(place)

    def _short(self, demand: replicas.Demand, pool: replicas.Pool, nodes: list[list[Place]]) -> Shortage | None:
        """What keeps another machine from being started for `demand`."""
        scripted = self._scenario.profile("capacity", demand.profile) is not None
        if not scripted and pool.nodes is not None and len(nodes) >= pool.nodes:
            return _insufficient(_lacking(pool, nodes, demand), max(1, pool.nodes))
        if pool.gpus and self._running(pool) + pool.gpus > self._granted(demand, pool):
            words = f"quota of {pool.quota} exceeded."
            return Shortage(f"Unschedulable on legion. {words}", f"Unschedulable: {words}")
        return None

    def _full(self, demand: replicas.Demand, pool: replicas.Pool | None, nodes: list[list[Place]]) -> Shortage | None:
        """The scenario's capacity, where it has one for the profile."""
        rule = self._scenario.profile("capacity", demand.profile)
        if rule is None or rule.replicas is None:
            return None
        grown = self._growing.get((demand.pool, rule), False)
        most = rule.then if grown and rule.then is not None else rule.replicas
        if sum(len(node) for node in nodes) < most:
            return None
        if rule.after is not None and (demand.pool, rule) not in self._growing:
            self._growing[demand.pool, rule] = False
            self._time.later(rule.after, lambda: self._grow(demand.pool, rule))
        return _insufficient(GPU if pool is not None and pool.gpus else "cpu", max(1, most))

    def _grow(self, pool: str, rule: scenario.Rule) -> None:
        self._growing[pool, rule] = True
        self._settle()

    def _granted(self, demand: replicas.Demand, pool: replicas.Pool) -> float:
        rule = self._scenario.profile("quota", demand.profile)
        return pool.granted if rule is None or rule.gpus is None else rule.gpus

    def _running(self, pool: replicas.Pool) -> int:
        """GPUs of the machines that run, in all pools that the quota counts."""
        known = ((self._pools(name), nodes) for name, nodes in self._nodes.items())
        return sum(
            one.gpus * len(nodes)
            for one, nodes in known
            if one is not None and (one.quota, one.scope) == (pool.quota, pool.scope)
        )


def said(wanted: Sequence[Place | None], several: Sequence[replicas.Replica]) -> str:
    """A revision's `runningStateDetails` while one of its replicas waits for a place; else ""."""
    shortages = [place.shortage for place in wanted if place is not None and place.shortage is not None]
    ready = sum(replica.ready for replica in several)
    return f"{ready}/{len(several)} replicas ready. {shortages[0].revision}" if shortages else ""


def _room(pool: replicas.Pool, node: list[Place], demand: replicas.Demand) -> bool:
    return pool.nodes is not None and not _lack(pool, node, demand)


def _lack(pool: replicas.Pool, node: list[Place], demand: replicas.Demand) -> str:
    """What a machine that runs `node` hasn't left for `demand`; "" when nothing lacks."""
    if pool.gpus and len(node) >= pool.gpus:
        return GPU
    if sum(place.demand.cores for place in node) + demand.cores > pool.cores + _SLACK:
        return "cpu"
    taken = sum(place.demand.memory for place in node) + demand.memory
    return "memory" if taken > pool.memory + _SLACK else ""


def _lacking(pool: replicas.Pool, nodes: list[list[Place]], demand: replicas.Demand) -> str:
    return next((lack for node in nodes if (lack := _lack(pool, node, demand))), GPU if pool.gpus else "cpu")


def _insufficient(resource: str, nodes: int) -> Shortage:
    return Shortage(
        f"Unschedulable on legion. 0/{nodes} nodes are available: {nodes} Insufficient {resource}.",
        f"Unschedulable: insufficient {resource}.",
    )
