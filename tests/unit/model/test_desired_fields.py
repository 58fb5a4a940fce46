"""The value types: durations, paths, names on a share."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model import fields

PART = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=5)
PATH = st.lists(PART, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20m", 1200), ("60s", 60), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("1h1m1s1ms", 3661.001), ("0s", 0)],
)
def test_durations_are_numbers_with_units(text: str, seconds: float) -> None:
    """h, m, s, ms, in this order."""
    assert fields.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "20 m", "-1s", "1s1h", "1d", "1e3s", "1hh", "٣s"])
def test_anything_else_is_no_duration(text: str) -> None:
    """Refused with an example."""
    with pytest.raises(ValueError, match="like 20m"):
        fields.seconds(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_reads_back(milliseconds: int) -> None:
    """What is written for a number of milliseconds is read as that number."""
    written = fields.duration(milliseconds / 1000)

    assert round(fields.seconds(written) * 1000) == milliseconds


@given(PATH, PATH)
def test_paths_overlap_when_one_holds_the_other(one: str, other: str) -> None:
    """Equal or nested, whatever the case, and whichever comes first; siblings with a common beginning don't."""
    first, second = one.lower().split("/"), other.lower().split("/")
    shorter = min(len(first), len(second))

    assert fields.overlap(one, other) == fields.overlap(other, one) == (first[:shorter] == second[:shorter])


def test_a_longer_name_is_not_inside_a_shorter_one() -> None:
    """`code-v2` isn't in `code`."""
    assert fields.nested(["code", "code-v2", "CODE/x"]) == [(2, "code")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a" * 256,
        "a:b",
        "a*b",
        'a"b',
        "a\nb",
        "a\\b",
        "\udcff",
        "COM1",
        "nul.txt",
        "lpt9",
        "end.",
        "end ",
    ],
)
def test_names_azure_files_can_not_hold(name: str) -> None:
    """Each with a reason."""
    assert fields.illegal_on_files(name)


@pytest.mark.parametrize("name", ["a", ".env", "COM10", "console", "é", "a b", "x" * 255, "adapter_model.safetensors"])
def test_names_azure_files_can_hold(name: str) -> None:
    """Nothing is refused for its looks."""
    assert fields.illegal_on_files(name) is None
