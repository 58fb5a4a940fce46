"""One write at a time in an environment, in the order it was asked for."""

from __future__ import annotations

import pytest

from controller import turns

ONE, TWO, THREE = (("InferenceApp", name) for name in ("one", "two", "three"))
HERE, THERE = "/subscriptions/S/environments/Here", "/subscriptions/S/environments/There"


class Time:
    """Seconds that pass when told to."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def line(time: Time) -> turns.Turns:
    return turns.Turns(time)


def test_the_first_has_the_turn_and_keeps_it(line: turns.Turns) -> None:
    """Asking again changes nothing."""
    assert [line.enter(HERE, ONE), line.enter(HERE, TWO), line.enter(HERE, ONE)] == [True, False, True]
    assert line.holder(HERE) == ONE


def test_who_leaves_calls_the_next_in_order(line: turns.Turns) -> None:
    """First come, first served, however often each asked."""
    for key in (ONE, TWO, THREE, TWO, THREE):
        line.enter(HERE, key)
    assert line.leave(ONE) == (TWO,)
    assert [line.enter(HERE, THREE), line.enter(HERE, TWO)] == [False, True]
    assert line.leave(TWO) == (THREE,)
    assert line.leave(THREE) == ()
    assert line.holder(HERE) is None


def test_environments_do_not_wait_for_each_other(line: turns.Turns) -> None:
    """Each has its own line; the case of an id makes no other one."""
    assert line.enter(HERE, ONE)
    assert line.enter(THERE, TWO)
    assert not line.enter(HERE.upper(), THREE)
    assert line.leave(TWO) == ()
    assert line.leave(ONE) == (THREE,)


def test_one_that_waits_says_so(line: turns.Turns) -> None:
    """Until its turn comes, or it is gone."""
    line.enter(HERE, ONE)
    line.enter(HERE, TWO)
    line.enter(HERE, THREE)
    assert [line.waiting(key) for key in (ONE, TWO, THREE)] == [False, True, True]
    line.leave(ONE)
    line.leave(THREE)
    assert [line.waiting(key) for key in (ONE, TWO, THREE)] == [False, False, False]


def test_one_that_is_gone_is_never_called(line: turns.Turns) -> None:
    """Neither holds anybody up who comes later."""
    for key in (ONE, TWO, THREE):
        line.enter(HERE, key)
    assert line.leave(TWO) == ()
    assert line.leave(ONE) == (THREE,)
    assert line.leave(ONE) == ()


def test_a_holder_that_vanished_loses_the_turn(line: turns.Turns, time: Time) -> None:
    """After the longest time, to whoever came first; it stands in line again when it comes back."""
    for key in (ONE, TWO):
        line.enter(HERE, key)
    time.seconds = turns.LONGEST
    assert not line.enter(HERE, THREE)
    time.seconds += 1
    assert [line.enter(HERE, THREE), line.enter(HERE, TWO), line.enter(HERE, ONE)] == [False, True, False]
    assert line.leave(TWO) == (THREE,)
    assert line.leave(THREE) == (ONE,)


def test_a_holder_for_too_long_stands_in_line_again(line: turns.Turns, time: Time) -> None:
    """Behind those who waited for it."""
    for key in (ONE, TWO):
        line.enter(HERE, key)
    time.seconds = turns.LONGEST + 1
    assert not line.enter(HERE, ONE)
    assert line.waiting(ONE)
    assert line.enter(HERE, TWO)
    assert line.leave(TWO) == (ONE,)


def test_nobody_else_there_means_no_end(line: turns.Turns, time: Time) -> None:
    """A long operation alone keeps its turn."""
    line.enter(HERE, ONE)
    time.seconds = 10 * turns.LONGEST
    assert line.enter(HERE, ONE)


def test_a_turn_that_is_not_taken_passes_on(line: turns.Turns, time: Time) -> None:
    """One that was called and doesn't come holds the others up for a minute only; one that came has its full time."""
    for key in (ONE, TWO, THREE):
        line.enter(HERE, key)
    line.leave(ONE)
    time.seconds = turns.TAKEN + 1
    assert line.enter(HERE, THREE)
    line.enter(HERE, ONE)
    time.seconds += turns.TAKEN + 1
    assert [line.enter(HERE, THREE), line.enter(HERE, ONE)] == [True, False]


def test_giving_up_a_place_holds_nobody_up(line: turns.Turns, time: Time) -> None:
    """Nothing is left to write there after all."""
    for key in (ONE, TWO):
        line.enter(HERE, key)
    assert line.leave(TWO) == ()
    assert line.leave(ONE) == ()
    assert line.enter(HERE, THREE)
