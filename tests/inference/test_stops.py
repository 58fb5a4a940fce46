"""Stop strings in a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import stops


def cut(pieces: list[str], *strings: str) -> str:
    matcher = stops.StopMatcher(strings)
    shown = "".join(matcher.feed(piece) for piece in pieces)
    return shown if matcher.matched else shown + matcher.flush()


@pytest.mark.parametrize(
    ("pieces", "strings", "shown"),
    [
        (["a b", " END c"], ("END",), "a b "),
        (["a E", "N", "D c"], ("END",), "a "),
        (["a EN", "X"], ("END",), "a ENX"),
        (["a EN"], ("END",), "a EN"),
        (["xy"], ("y", "x"), ""),
        (["abc"], (), "abc"),
    ],
)
def test_text_ends_before_the_first_stop_string(pieces: list[str], strings: tuple[str, ...], shown: str) -> None:
    """Across pieces, and what only looked like a stop string is shown after all."""
    assert cut(pieces, *strings) == shown


@given(st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=4), st.integers(1, 5))
def test_how_text_is_cut_into_pieces_makes_no_difference(text: str, stop: str, size: int) -> None:
    """Any cut into pieces shows what a split of the whole text would."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert cut(pieces, stop) == text.split(stop)[0]
