"""YAML text to data with places, and what of YAML is refused."""

from __future__ import annotations

import pytest

from controller.sources import document


def problems(text: str | bytes) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [str(problem) for problem in document.parse(data, file="f.yaml")[1]]


def test_values_and_keys_have_places() -> None:
    """Lines and columns count from 1; what has none gets that of what is around it."""
    (found,), wrong = document.parse(b"# first\na:\n  b: [1, two]\n", file="f.yaml")

    assert (found.data, wrong) == ({"a": {"b": [1, "two"]}}, [])
    assert str(found.problem(("a", "b", 1), "x")) == "f.yaml:3:10: x"
    assert str(found.problem(("a", "b"), "x", at_key=True)) == "f.yaml:3:3: x"
    assert str(found.problem(("a", "missing", "deeper"), "x", at_key=True)) == "f.yaml:3:3: x"


def test_scalars_have_yaml_s_types_but_dates_are_text() -> None:
    """As PyYAML types them; a commit date isn't a date."""
    (found,), _ = document.parse(b"[1, 1.5, true, null, 2026-01-02, '1', yes]", file="f")

    assert found.data == [1, 1.5, True, None, "2026-01-02", "1", True]


def test_documents_are_separate_and_empty_ones_left_out() -> None:
    """A file may end with ---."""
    found, _ = document.parse("\ufeffa: 1\n---\n# nothing\n---\nb: 2\n---\n".encode(), file="f")

    assert [one.data for one in found] == [{"a": 1}, {"b": 2}]


def test_aliases_and_merges_are_expanded() -> None:
    """Own keys win over merged ones, earlier merged mappings over later ones; places are where the text stands."""
    text = b"base: &b {p: 1, q: 2}\nmore: &m {q: 3, r: 4}\nc: {<<: [*b, *m], p: 9}\nd: *b\ne: {<<: *m}\n"

    (found,), wrong = document.parse(text, file="f")

    assert wrong == []
    assert found.data["c"] == {"p": 9, "q": 2, "r": 4}
    assert (found.data["d"], found.data["e"]) == ({"p": 1, "q": 2}, {"q": 3, "r": 4})
    assert found.values["c", "r"] == (2, 20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: 1\nb:\n\tc: 2\n",
            "f.yaml:3:1: while scanning for the next token, found character that cannot start any token",
        ),
        ("a: [1\n", "f.yaml:2:1: while parsing a flow sequence, did not find expected ',' or ']'"),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: not UTF-8"),
        ("a: 1\nb: \x07\n", "f.yaml:2:4: YAML doesn't allow this character: control characters are not allowed"),
        ("a: *nowhere\n", "f.yaml:1:4: found undefined alias"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: duplicate key 'a': first on line 1"),
        ("1: a\n", "f.yaml:1:1: a key must be text; put it in quotes"),
        ("{<<: {1: a}}\n", "f.yaml:1:7: a key must be text; put it in quotes"),
        ("a: {<<: 3}\n", "f.yaml:1:9: << takes a mapping, or a list of them, without << of its own"),
        (
            "a: !!python/name:os.system x\n",
            "f.yaml:1:4: the tag 'tag:yaml.org,2002:python/name:os.system' isn't supported",
        ),
        ("a: !!set {x}\n", "f.yaml:1:4: the tag 'tag:yaml.org,2002:set' isn't supported"),
        ("a: !!int x\n", "f.yaml:1:4: the value isn't what its tag says"),
        ("a: !!int \n", "f.yaml:1:4: the value isn't what its tag says"),
        ("a: .inf\n", "f.yaml:1:4: .inf is no number"),
        ("[" * 100_000, "f.yaml:1:41: nested more than 40 levels deep"),
        ("a: &a [*a]\n", "f.yaml:1:1: nested more than 40 levels deep"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_in_its_place(text: str | bytes, expected: str) -> None:
    """One problem, where it is."""
    assert problems(text) == [expected]


def test_an_alias_bomb_is_refused() -> None:
    """Aliases count as often as they are used; reading stays short."""
    levels = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12))

    assert problems(f"a0: &a0 [1]\n{levels}") == [
        "f.yaml:1:1: more than 10000 values, aliases counted as often as they are used"
    ]


def test_problems_of_one_document_leave_the_others_readable() -> None:
    """What comes before a syntax error is read, and all problems are told."""
    found, wrong = document.parse(b"a: 1\na: 2\n---\nb: 1\n---\nc: [\n", file="f")

    assert [one.data for one in found] == [{"a": 1}, {"b": 1}]
    assert [(problem.line, problem.column) for problem in wrong] == [(2, 1), (7, 1)]


def test_odd_paths_are_shown_in_ascii() -> None:
    """No control character of a file's name reaches a terminal."""
    assert document.shown("a\x1b[31m/é") == "a\\x1b[31m/\\xe9"
    assert document.shown("é") == "é"
