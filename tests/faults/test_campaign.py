"""A cut of the campaign: some of every kind of fault in every scenario; all of it is `make faults`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from tests.faults import campaign, fuzz, mutants, portal, seam, sequences

SEED = 4
SCENARIOS = ("image", "content", "key-rotation", "prune")
"""Those whose start is quickly built, and that have reads, writes, uploads, operations and deletions between them."""

ROLLOUTS = ("canary", "rejected", "blue-green-rejected")
"""Those in which traffic is moved in steps, and a release is gone back from in each mode."""


@pytest.fixture(scope="module", autouse=True)
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    campaign.learn((*SCENARIOS, *ROLLOUTS), tmp_path_factory.mktemp("scenarios"))
    yield
    campaign.LEARNED.clear()
    structlog.reset_defaults()


def one_of_each_kind(names: Sequence[str]) -> list[campaign.Case]:
    """By the seed, one case of each kind of fault, in whichever of these scenarios."""
    chance, kinds = random.Random(SEED), dict[str, list[campaign.Case]]()
    for case in campaign.singles({name: campaign.LEARNED[name] for name in names}):
        kinds.setdefault(case.shots[0][1], []).append(case)
    return [chance.choice(found) for found in kinds.values()]


def test_one_fault() -> None:
    """It converges, then is quiet, and ends as if nothing had happened, whatever befell the call."""
    outcomes = [campaign.carry_out(case) for case in one_of_each_kind(SCENARIOS)]
    assert [(one.case.named, one.broken) for one in outcomes if one.broken] == []
    assert all(one.fired == 1 for one in outcomes)


def test_one_fault_in_a_rollout() -> None:
    """The same while a release takes over or is gone back from."""
    outcomes = [campaign.carry_out(case) for case in one_of_each_kind(ROLLOUTS)]
    assert [(one.case.named, one.broken) for one in outcomes if one.broken] == []
    assert all(one.fired == 1 for one in outcomes)


def test_two_faults() -> None:
    """The same of pairs."""
    outcomes = [campaign.carry_out(case) for case in campaign.several(campaign.LEARNED, 4, faults=2, seed=SEED)]
    assert [(one.case.named, one.broken) for one in outcomes if one.broken] == []


def test_an_edit_at_the_portal() -> None:
    """What somebody edits between read and write survives, but inside what the service replaces whole."""
    learned = campaign.LEARNED["image"]
    found = [portal.carry_out(case, learned.prepared, learned.baseline) for case in portal.cases({"image": learned})]
    assert [broken for _, _, broken in found if broken] == []
    assert {name: fate for name, fate, _ in found} == {
        "containerapps variable": "ours",
        "containerapps container": "lost",
        "containerapps volume": "kept",
        "containerapps scale rule": "kept",
        "containerapps secret": "kept",
        "containerapps ingress": "kept",
        "containerapps tag": "kept",
    }


def test_a_sequence_of_edits(tmp_path: Path) -> None:
    """A, a release that crashes, A again: the end is that of A alone."""
    _, broken = sequences.run(tmp_path, seed=SEED, examples=1)
    assert broken == []


def test_fuzzed_states(tmp_path: Path) -> None:
    """Refused with a place, or planned; never a crash."""
    told = fuzz.run(SEED, 0, 300, tmp_path)
    assert told.broken == []
    assert told.refused > 50
    assert told.planned > 50


def test_every_mutant_can_be_sown() -> None:
    """The lines that it replaces are there, once."""
    texts = {edit.file: (mutants.ROOT / edit.file).read_text() for one in mutants.MUTANTS for edit in one.edits}
    counts = {edit.old: texts[edit.file].count(edit.old) for one in mutants.MUTANTS for edit in one.edits}
    assert {old: count for old, count in counts.items() if count != 1} == {}
    assert {name for one in mutants.MUTANTS for name in one.scenarios} <= set(campaign.SCENARIOS)


def test_a_case_can_be_named() -> None:
    """What a violation is called is what runs it again."""
    case = campaign.Case("image", ((3, "stale"), (17, "crash-before")))
    assert campaign.Case.parse(case.named) == case


def test_a_dead_controller_sends_nothing() -> None:
    """After a crash, what was under way finds the wire cut."""
    wire = seam.Seam()
    life = wire.life
    wire.die()
    assert not wire.alive(life)
