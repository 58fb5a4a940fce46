"""The figures of a rollout and its budgets, from made-up answers."""

from __future__ import annotations

from collections.abc import Iterable

from tests.bench import load, rows, serving

OLD, NEW = "old", "new"
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]}


def row(
    strategy: str,
    does: str,
    answers: Iterable[load.Answer],
    *,
    weights: Iterable[rows.Weight] = (),
    last: str | None = OLD,
    good: bool = False,
    settled: bool = True,
) -> rows.Row:
    seen = rows.Seen(NEW, OLD, began=0.0, ended=9.0, settled=settled, status=READY, last=last)
    seen.answers, seen.weights = list(answers), list(weights)
    return rows.Row(strategy, rows.Case(does, good=good), seen)


def answers(*versions: str | None, status: int | str = 200, since: float = 0.0) -> list[load.Answer]:
    """One every 10 ms."""
    return [load.Answer(since + at / 100, 0.005, status, version) for at, version in enumerate(versions)]


def test_nothing_went_wrong() -> None:
    """Every strategy and case keeps its budgets where only the right release answers."""
    for strategy in rows.WITHOUT_FAILURE:
        assert row(strategy, serving.HANG, answers(OLD, OLD)).broken == []


def test_one_failed_request_breaks_the_budget() -> None:
    """An error, a timeout or a cut connection; but not where a failure must be expected."""
    for status in (503, 404, "timeout", "ServerDisconnectedError"):
        made = [*answers(OLD), *answers(None, status=status)]
        assert row("BlueGreen", serving.CRASH_AFTER_READY, made).broken == [f"1 failed: {status}"]
        assert row("Rolling", serving.HANG, made).broken == [f"1 failed: {status}"]
        assert row("Rolling", serving.CRASH_AFTER_READY, made).broken == []
        assert row("Recreate", serving.GOOD, made, good=True, last=NEW).broken == []


def test_a_bad_answer_is_outside_where_it_had_no_weight() -> None:
    """Before a canary's step, and when it has everything; within a step, bad answers are counted only."""
    step = [rows.Weight(at, 0 if at < 10 else 20 if at <= 12 else 100) for at in range(20)]
    within = row("Canary", serving.WRONG_RELEASE, answers(NEW, since=11.0), weights=step)
    assert (len(within.bad), within.outside, within.broken) == (1, 0, [])
    for at in (1.0, 15.0):
        out = row("Canary", serving.WRONG_RELEASE, answers(NEW, since=at), weights=step)
        assert (out.outside, len(out.broken)) == (1, 1)


def test_the_wrong_release_answers_at_the_end() -> None:
    """And so does nobody, or a status that goes on changing."""
    assert row("Recreate", serving.HANG, [], last=NEW).broken == ["at the end new answers, not old"]
    assert row("Rolling", serving.GOOD, [], good=True).broken == ["at the end old answers, not new"]
    assert row("Recreate", serving.HANG, [], last=None).broken == ["at the end None answers, not old"]
    assert row("Recreate", serving.HANG, [], settled=False).broken == ["the status didn't settle"]


def test_a_canary_has_its_share() -> None:
    """20 % are 20 of 100 answers; half of them aren't, and no step at all isn't one."""
    step = [rows.Weight(at / 4, 20) for at in range(17)]
    right = answers(*[NEW, OLD, OLD, OLD, OLD] * 40, since=1.0)
    made = row("Canary", serving.GOOD, right, weights=step, good=True, last=NEW)
    assert made.broken == []
    assert made.shares == [(20, 0.2)]
    wrong = answers(*[NEW, OLD] * 100, since=1.0)
    assert row("Canary", serving.GOOD, wrong, weights=step, good=True, last=NEW).broken == ["20 % were 50.0%"]
    assert row("Canary", serving.GOOD, wrong, good=True, last=NEW).broken == ["no step of the canary was seen"]


def test_a_gap_is_from_the_first_failed_request_to_the_last() -> None:
    """As a line of the table has it."""
    made = [*answers(OLD), *answers(None, since=1.0, status=503), *answers(None, since=3.5, status="timeout")]
    words = row("Recreate", serving.GOOD, made, good=True, last=NEW).shown().split()
    assert words[:5] == ["Recreate", "good", "3", "2", "2.50"]
