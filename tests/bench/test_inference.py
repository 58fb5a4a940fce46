"""The figures and goals of the served app, from made-up runs, and what it is asked."""

from __future__ import annotations

import json

import pytest

from tests.bench import inference_load, inference_rows
from tests.bench.inference_load import Answer
from tests.bench.inference_rows import ENGINE, HTTP, THREADS, Key


def run(speed: float, *, firsts: tuple[float, ...] = (0.1,)) -> inference_rows.Run:
    """One second long."""
    each = int(speed / len(firsts))
    return inference_rows.Run(tuple(Answer("a", each, first, 1.0) for first in firsts), seconds=1.0, cpu=0.5)


def measured(**speeds: list[float]) -> inference_rows.Measured:
    found = inference_rows.Measured()
    for way, several in speeds.items():
        for speed in several:
            found.add(Key("tiny", 16, way), run(speed))
    return found


def test_a_ratio_is_the_median_over_rounds() -> None:
    """A round in which the machine was busy for both doesn't matter, nor one in which it was for one of them."""
    found = measured(threads=[100, 10, 100], engine=[1000, 100, 10])
    assert found.ratio(Key("tiny", 16, ENGINE)) == 10.0


def test_goals_are_judged_where_they_were_measured() -> None:
    """At the goal is enough, below isn't, and what wasn't run isn't judged."""
    judged = measured(threads=[100], engine=[1000], http=[399]).judged()
    assert list(judged.values()) == [True, False]
    assert list(judged) == [
        "tiny, 16 streams at the engine's interface: 10.00x of threads, goal 10x: OK",
        "tiny, 16 streams over HTTP: 3.99x of threads, goal 4x: UNDER GOAL",
    ]


def test_a_line_of_the_table() -> None:
    """Requests and tokens a second, the first token's percentiles, tokens per CPU second, the ratio, the runs."""
    found = inference_rows.Measured()
    found.add(Key("tiny", 4, THREADS), run(50))
    found.add(Key("tiny", 4, HTTP), run(200, firsts=(0.01, 0.02, 0.03, 0.5)))
    line = found.lines()[1].split()
    assert line == ["tiny", "4", "http", "4.00", "200.0", "20", "ms", "500", "ms", "400.0", "4.00x", "1"]


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 10.0), (95, 19.0), (100, 20.0)])
def test_percentiles(percent: int, value: float) -> None:
    """Of the numbers from 1 to 20, in any order."""
    assert inference_rows.percentile([float(one) for one in range(20, 0, -1)], percent) == value


@pytest.mark.parametrize("make", [inference_load.questions, inference_load.fixed])
def test_a_load_survives_the_way_to_the_client(make: inference_load.Make) -> None:
    """And the same seed asks the same."""
    load = make(4, 2, seed=3)
    assert inference_load.from_json(json.loads(json.dumps(inference_load.to_json(load)))) == load
    assert make(4, 2, seed=3) == load != make(4, 2, seed=4)
    assert [len(stream) for stream in load.streams] == [2, 2, 2, 2]


def test_fixed_answers_have_the_same_lengths_in_every_load() -> None:
    """From 8 to 24 tokens, so that a load's work doesn't depend on its seed."""
    first, second = (
        sorted(request.tokens for stream in inference_load.fixed(16, 1, seed=seed).streams for request in stream)
        for seed in (1, 2)
    )
    assert first == second
    assert (first[0], first[-1]) == (8, 24)


def test_differing_answers_are_counted() -> None:
    """Other text or other tokens, whenever they came."""
    ours = [Answer("a", 1, 0.1, 0.2), Answer("b", 2, 0.1, 0.2), Answer("c", 3, 0.1, 0.2)]
    theirs = [Answer("a", 1, 0.5, 0.9), Answer("b", 3, 0.1, 0.2), Answer("d", 3, 0.1, 0.2)]
    assert inference_load.differing(ours, theirs) == 2
