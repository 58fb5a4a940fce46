"""`make faults`: every scenario once per (call, fault), then pairs, triples, a user at the portal, sequences of edits
and fuzzed states; a table at the end. `python -m tests.faults.campaign --help` tells how to run less, or a case again.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import case, fuzz, kinds, portal, rollouts, scenarios, seam, sequences

SCENARIOS = scenarios.BY_NAME | rollouts.BY_NAME
PAIRS, TRIPLES = 500, 100
TOLD = 500
"""Cases between two lines of progress."""

MOST_REQUESTS = 150
"""Requests of a scenario that are faulted."""


@dataclass(frozen=True)
class Case:
    """A scenario with the faults of some of its calls. `index` is the call's place among those learned."""

    scenario: str
    shots: tuple[tuple[int, str], ...]

    @property
    def named(self) -> str:
        return f"{self.scenario}:" + "+".join(f"{index}.{kind}" for index, kind in self.shots)

    @classmethod
    def parse(cls, text: str) -> Case:
        scenario, _, shots = text.partition(":")
        pairs = (one.partition(".") for one in shots.split("+") if one)
        return cls(scenario, tuple((int(index), kind) for index, _, kind in pairs))


@dataclass(frozen=True)
class Outcome:
    """What one case came to: `fired` of its faults befell a call, `extra` writes more than undisturbed."""

    case: Case
    broken: tuple[str, ...]
    fired: int
    extra: int
    aside: int
    seconds: float


@dataclass
class Learned:
    """A scenario, what it comes to undisturbed, and which of its calls are faulted."""

    prepared: scenarios.Prepared
    baseline: case.Baseline
    chosen: tuple[int, ...]


LEARNED: dict[str, Learned] = {}
"""Of every scenario of this run; worker processes have it from their parent."""


def learn(names: Iterable[str], root: Path) -> None:
    for name in names:
        try:
            prepared = asyncio.run(scenarios.prepare(SCENARIOS[name], root))
        except AssertionError as error:
            raise case.Disturbed(f"{name} can't even be begun: {error}") from error
        baseline = asyncio.run(case.learn(prepared))
        about = prepared.scenario.about
        chosen = (place for place in _chosen(baseline.seen) if about in baseline.seen[place].call.path.lower())
        LEARNED[name] = Learned(prepared, baseline, tuple(chosen))


def _chosen(seen: Sequence[seam.Seen]) -> Iterator[int]:
    """Every write; of the reads of one thing the first, the last, and each whose answer is news."""
    reads: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, one in enumerate(seen):
        if one.writes:
            yield index
        else:
            reads[one.call.method, one.call.path].append(index)
    for places in reads.values():
        news = {place for place in places if not seen[place].same or seen[place].created}
        yield from sorted(news | {places[0], places[-1]})


def singles(learned: Mapping[str, Learned]) -> list[Case]:
    """Every fault of every chosen call that makes sense for it."""
    return [
        Case(name, ((index, kind.named),))
        for name, one in learned.items()
        for index in sorted(one.chosen)[:MOST_REQUESTS]
        for kind in kinds.KINDS
        if kind.applies(one.baseline.seen[index]) and not _known(one, index, kind)
    ]


def _known(one: Learned, index: int, kind: kinds.Kind) -> bool:
    """Of the ways in which a read merely fails, one is enough where a scenario isn't about them."""
    return bool(one.prepared.scenario.about) and kind.named in kinds.ALIKE and not one.baseline.seen[index].writes


def skipped(learned: Mapping[str, Learned]) -> int:
    """Faults that make no sense for the call, or are the same as another one."""
    return sum(
        not kind.applies(one.baseline.seen[index])
        for one in learned.values()
        for index in one.chosen
        for kind in kinds.KINDS
    )


def several(learned: Mapping[str, Learned], count: int, *, faults: int, seed: int) -> list[Case]:
    """`count` cases of so many faults at random."""
    chance, found = random.Random(f"{seed}/{faults}"), list[Case]()
    while len(found) < count:
        name = chance.choice(sorted(learned))
        seen = learned[name].baseline.seen
        places = sorted(chance.sample(range(len(seen)), faults))
        shots = tuple(
            (place, chance.choice([kind.named for kind in kinds.KINDS if kind.applies(seen[place])]))
            for place in places
        )
        found.append(Case(name, shots))
    return found


def carry_out(wanted: Case) -> Outcome:
    """One case, in this process."""
    learned = LEARNED[wanted.scenario]
    done = _done(wanted, learned)
    extra = max(0, len(done.writes) - learned.baseline.writes)
    return Outcome(wanted, tuple(done.broken), done.fired, extra, done.aside, done.seconds)


def _done(wanted: Case, learned: Learned) -> case.Run:
    faults = seam.Seam({learned.baseline.seen[index].call: kinds.BY_NAME[kind].shot for index, kind in wanted.shots})
    chosen = {kind for _, kind in wanted.shots}
    judged = case.judged(
        learned.prepared,
        learned.baseline,
        faults,
        hidden=bool(chosen & kinds.HIDING),
        ended=bool(chosen & kinds.ENDING),
    )
    return asyncio.run(judged)


def all_of(cases: Sequence[Case], *, jobs: int, first: bool) -> Iterator[Outcome]:
    """Each case's outcome as it comes; `first` ends with the first violation."""
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for outcome in pool.imap_unordered(carry_out, cases, chunksize=4):
            yield outcome
            if first and outcome.broken:
                return


def table(rows: Sequence[str], columns: Sequence[str], outcomes: Sequence[tuple[str, str, Outcome]]) -> str:
    """Cases of each row and column, with violations after a slash."""
    cells: Counter[tuple[str, str]] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    for row, column, outcome in outcomes:
        for where in ((row, column), (row, "all"), ("all", column), ("all", "all")):
            cells[where] += 1
            bad[where] += bool(outcome.broken)
    rows, columns = [*rows, "all"], [*columns, "all"]
    width = max(map(len, rows))
    lines = [" " * width + "".join(f" {column:>{_wide(column)}}" for column in columns)]
    for row in rows:
        texts = [_cell(cells[row, column], bad[row, column]) for column in columns]
        lines.append(
            f"{row:<{width}}" + "".join(f" {text:>{_wide(c)}}" for c, text in zip(columns, texts, strict=True))
        )
    return "\n".join(lines)


def _wide(column: str) -> int:
    return max(len(column), 6)


def _cell(cases: int, bad: int) -> str:
    return "." if not cases else f"{cases}/{bad}" if bad else str(cases)


def column(outcome: Outcome) -> str:
    kinds_of = outcome.case.shots
    return kinds_of[0][1] if len(kinds_of) == 1 else {2: "pair", 3: "triple"}.get(len(kinds_of), "several")


def report(outcomes: Sequence[Outcome], learned: Mapping[str, Learned], *, seconds: float, seed: int) -> str:
    names = [name for name in SCENARIOS if name in learned]
    columns = [*(kind.named for kind in kinds.KINDS), "pair", "triple"]
    rows = [(outcome.case.scenario, column(outcome), outcome) for outcome in outcomes]
    broken = [outcome for outcome in outcomes if outcome.broken]
    cpu = sum(outcome.seconds for outcome in outcomes)
    lines = [
        table(names, columns, rows),
        "",
        f"{len(outcomes)} cases, {len(outcomes) - len(broken)} converged as undisturbed, {len(broken)} violations; "
        f"{skipped(learned)} faults skipped that make no sense for their call; "
        f"{sum(not outcome.fired for outcome in outcomes)} cases whose fault was never reached",
        f"{sum(outcome.extra for outcome in outcomes)} writes more than undisturbed, all idempotent, in "
        f"{sum(outcome.extra > 0 for outcome in outcomes)} cases; {sum(outcome.aside for outcome in outcomes)} "
        "temporary files left to be swept",
        f"{seconds:.0f} s, {cpu:.0f} s of CPU, {1000 * cpu / max(1, len(outcomes)):.0f} ms a case; seed {seed}",
    ]
    for outcome in sorted(broken, key=lambda one: one.case.named)[:50]:
        shown = "\n    ".join(line[:1500] for line in outcome.broken[:4])
        lines.append(f"\n{outcome.case.named}\n    {shown}")
    if broken:
        first = sorted(broken, key=lambda one: one.case.named)[0]
        lines.append(f"\nagain: python -m tests.faults.campaign --case {first.case.named} --seed {seed}")
    return "\n".join(lines)


def show(name: str) -> bool:
    """One case again, with its calls and its log; whether it holds."""
    wanted = Case.parse(name)
    learned = LEARNED[wanted.scenario]
    for index, kind in wanted.shots:
        print(f"{kind}: {learned.baseline.seen[index].call}")
    done = _done(wanted, learned)
    print(done.lines)
    print("\n".join(f"{seen.status} {seen.call}" for seen in done.seen))
    print(f"{done.looks} looks, {done.deaths} deaths, {len(done.writes)} writes, {dict(done.made)} made")
    print("\n".join(done.broken) or "it holds")
    return not done.broken


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.faults.campaign", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS), help="only this one")
    parser.add_argument("--kind", action="append", choices=sorted(kinds.BY_NAME), help="only this fault")
    parser.add_argument("--case", help="one case again, told at length")
    parser.add_argument("--sample", type=int, help="so many of the single faults")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of two faults at random")
    parser.add_argument("--triples", type=int, default=TRIPLES)
    parser.add_argument("--sequences", type=int, default=sequences.EXAMPLES, help="of edits of the desired state")
    parser.add_argument("--states", type=int, default=fuzz.STATES, help="fuzzed ones")
    parser.add_argument("--no-portal", dest="portal", action="store_false", help="nobody edits at the portal")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--first", action="store_true", help="end with the first violation")
    chosen = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="acaops-campaign-") as folder:
        begun = time.monotonic()
        names = [chosen.case.partition(":")[0]] if chosen.case else chosen.scenario or list(SCENARIOS)
        try:
            learn(names, Path(folder))
        except case.Disturbed as error:
            print(f"violation: {error}")
            return 1
        if chosen.case:
            return 0 if show(chosen.case) else 1
        print(f"{len(names)} scenarios learned in {time.monotonic() - begun:.0f} s; seed {chosen.seed}", flush=True)
        return 1 if _campaign(chosen, Path(folder), begun) else 0


def _campaign(chosen: argparse.Namespace, root: Path, begun: float) -> bool:
    """Everything that was chosen; whether something was violated."""
    cases = _cases(chosen)
    outcomes = list(_told(all_of(cases, jobs=chosen.jobs, first=chosen.first), len(cases)))
    print(report(outcomes, LEARNED, seconds=time.monotonic() - begun, seed=chosen.seed), flush=True)
    broken = any(outcome.broken for outcome in outcomes)
    if broken and chosen.first:
        return True
    if chosen.portal:
        broken |= _portal(jobs=chosen.jobs)
    if chosen.sequences:
        broken |= _sequences(root / "sequences", chosen)
    if chosen.states:
        told = fuzz.all_states(chosen.states, seed=chosen.seed, jobs=chosen.jobs, root=root / "fuzz")
        print(fuzz.report(told), flush=True)
        broken |= bool(told.broken)
    print(f"{'VIOLATIONS' if broken else 'no violations'}; {time.monotonic() - begun:.0f} s in all; seed {chosen.seed}")
    return broken


def _edited(wanted: portal.Case) -> tuple[str, str, list[str]]:
    learned = LEARNED[wanted.scenario]
    return portal.carry_out(wanted, learned.prepared, learned.baseline)


def _portal(*, jobs: int) -> bool:
    cases = list(portal.cases(LEARNED))
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        found = pool.map(_edited, cases, chunksize=2)
    print(portal.table(found), flush=True)
    for wanted, (_, fate, broken) in zip(cases, found, strict=True):
        for line in broken:
            print(f"{wanted.named} ({fate}): {line[:1500]}")
    return any(broken for _, _, broken in found)


def _sequences(root: Path, chosen: argparse.Namespace) -> bool:
    count, broken = sequences.run(root, seed=chosen.seed, examples=chosen.sequences)
    print(f"{count} sequences of edits, each to the end of a fresh cloud: {len(broken)} violations", flush=True)
    print("".join(f"    {line[:3000]}\n" for line in broken), end="")
    return bool(broken)


def _cases(chosen: argparse.Namespace) -> list[Case]:
    found = [one for one in singles(LEARNED) if not chosen.kind or one.shots[0][1] in chosen.kind]
    if chosen.sample is not None:
        found = random.Random(chosen.seed).sample(found, min(chosen.sample, len(found)))
    found += several(LEARNED, chosen.pairs, faults=2, seed=chosen.seed)
    return found + several(LEARNED, chosen.triples, faults=3, seed=chosen.seed)


def _told(outcomes: Iterator[Outcome], count: int) -> Iterator[Outcome]:
    """Progress, and each violation as it comes, on stderr."""
    for number, outcome in enumerate(outcomes, 1):
        if outcome.broken:
            print(f"violation: {outcome.case.named}: {outcome.broken[0][:200]}", file=sys.stderr, flush=True)
        if number % TOLD == 0 or number == count:
            print(f"{number} of {count} cases", file=sys.stderr, flush=True)
        yield outcome


if __name__ == "__main__":
    sys.exit(main())
