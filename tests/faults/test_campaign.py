"""A cut of the campaign: some of every kind of fault in every scenario; all of it is `make faults`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.faults import campaign, fuzz, mutants, portal, scenarios, seam, sequences

SEED = 4
SCENARIOS = ("image", "content", "key-rotation", "prune")
"""Those whose start is quickly built, and that have reads, writes, uploads, operations and deletions between them."""


@pytest.fixture(scope="module", autouse=True)
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    campaign.learn(SCENARIOS, tmp_path_factory.mktemp("scenarios"))
    yield
    campaign.LEARNED.clear()
    structlog.reset_defaults()


def one_of_each_kind() -> list[campaign.Case]:
    """By the seed, one case of each kind of fault, whatever the scenario."""
    chance, kinds = random.Random(SEED), dict[str, list[campaign.Case]]()
    for case in campaign.singles(campaign.LEARNED):
        kinds.setdefault(case.shots[0][1], []).append(case)
    return [chance.choice(found) for found in kinds.values()]


def test_one_fault() -> None:
    """It converges, then is quiet, and ends as if nothing had happened, whatever befell the call."""
    outcomes = [campaign.carry_out(case) for case in one_of_each_kind()]
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
    assert {name for one in mutants.MUTANTS for name in one.scenarios} <= set(scenarios.BY_NAME)


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
