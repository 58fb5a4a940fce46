"""Reads the part of Bicep that `infra/` is written in: a file's declarations, their values as functions of a scope.

What it doesn't know it refuses, with the place. No package does that: pycep-parser, which reads our files too, gives
one and the same string for the name `share` and the text 'share', and leaves what is interpolated unparsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = re.compile(
    r"(?P<skip>[ \t]+|//[^\n]*)|(?P<newline>\n)|(?P<string>'(?:[^'\\\n$]|\\.|\$(?!\{)|\$\{[^}]*\})*')"
    r"|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)|(?P<mark>==|!=|&&|\|\||\?\?|[{}\[\]().,:?=!@+-])"
)
ESCAPES = {"\\'": "'", "\\\\": "\\", "\\n": "\n", "\\$": "$"}
WORDS = {"true": True, "false": False, "null": None}

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]


class BicepError(Exception):
    """Text that isn't Bicep, or isn't the part of it known here."""


@dataclass(frozen=True)
class Declaration:
    """`kind` is param, var, resource, module or output; `type` what stands after the name."""

    kind: str
    name: str
    type: str
    value: Expression | None
    uses: frozenset[str]
    existing: bool = False
    decorators: frozenset[str] = frozenset()


def read(path: Path) -> list[Declaration]:
    """The file's declarations in their order. Raises BicepError."""
    return _Parser(path.read_text(), path.name).file()


class _Parser:
    """By recursive descent. Newlines count: they part declarations, properties and items."""

    def __init__(self, text: str, name: str) -> None:
        self._tokens: list[tuple[str, str, str]] = []
        self._at = 0
        self._uses: set[str] = set()
        at = 0
        while at < len(text):
            where = f"{name}:{text.count(chr(10), 0, at) + 1}"
            found = TOKEN.match(text, at)
            if found is None:
                raise BicepError(f"{where}: {text[at : at + 20]!r}")
            if found.lastgroup != "skip":
                self._tokens.append((str(found.lastgroup), found[0], where))
            at = found.end()
        self._tokens.append(("end", "", name))

    def file(self) -> list[Declaration]:
        declarations = []
        decorators: set[str] = set()
        self._newlines()
        while self._peek()[0] != "end":
            if self._take("@"):
                decorators.add(self._peek()[1])
                self._postfix()
            else:
                declarations.append(self._declaration(frozenset(decorators)))
                decorators = set()
            if self._peek()[0] != "end":
                self._expect("\n")
            self._newlines()
        return declarations

    def _declaration(self, decorators: frozenset[str]) -> Declaration:
        kind, name = self._name(), self._name()
        if kind not in ("param", "var", "resource", "module", "output"):
            self._fail()
        kept = kind in ("resource", "module")
        kind_of = self._literal() if kept else self._name() if kind != "var" else ""
        existing = kept and self._take("existing")
        self._uses = set()
        value = self._value(kept) if self._take("=") else None
        if value is None and kind != "param":
            self._fail()
        return Declaration(kind, name, kind_of, value, frozenset(self._uses), existing, decorators)

    def _value(self, conditional: bool) -> Expression:
        if not (conditional and self._take("if")):
            return self._expression()
        self._expect("(")
        condition = self._expression()
        self._expect(")")
        body = self._expression()
        return lambda scope: body(scope) if condition(scope) else None

    def _expression(self) -> Expression:
        condition = self._unary()
        for mark, meaning in {"==": lambda a, b: a == b, "-": lambda a, b: a - b, "+": lambda a, b: a + b}.items():
            if self._take(mark):
                condition = _both(condition, self._unary(), meaning)
        if not self._take("?"):
            return condition
        yes = self._expression()
        self._expect(":")
        no = self._expression()
        return lambda scope: yes(scope) if condition(scope) else no(scope)

    def _unary(self) -> Expression:
        if self._take("!"):
            inner = self._unary()
            return lambda scope: not inner(scope)
        return self._postfix()

    def _postfix(self) -> Expression:
        value = self._primary()
        while True:
            if self._take("."):
                name = self._name()
                value = _called(value, name, self._arguments()) if self._take("(") else _member(value, name)
            elif self._take("["):
                value = _both(value, self._expression(), lambda items, index: items[index])
                self._expect("]")
            else:
                return value

    def _primary(self) -> Expression:
        kind, text, _ = self._peek()
        if kind == "string":
            return self._string()
        if kind == "number":
            self._at += 1
            return lambda _: int(text)
        if self._take("{"):
            return self._object()
        if self._take("["):
            return self._loop() if self._take("for") else self._array()
        if self._take("("):
            inner = self._expression()
            self._expect(")")
            return inner
        name = self._name()
        if name in WORDS:
            return lambda _: WORDS[name]
        if self._take("("):
            arguments = self._arguments()
            return lambda scope: scope[f"{name}()"](*(argument(scope) for argument in arguments))
        self._uses.add(name)
        return lambda scope: scope[name]

    def _string(self) -> Expression:
        _, text, where = self._next()
        parts: list[Expression] = []
        for piece in re.split(r"(\$\{[^}]*\})", text[1:-1]):
            if piece.startswith("${"):
                inner = _Parser(piece[2:-1], where)
                parts.append(inner._expression())
                self._uses |= inner._uses
            else:
                plain = re.sub(r"\\.", lambda found: ESCAPES[found[0]], piece)
                parts.append(lambda _, plain=plain: plain)  # type: ignore[misc]
        return lambda scope: "".join(str(part(scope)) for part in parts)

    def _object(self) -> Expression:
        properties: list[tuple[Expression, Expression]] = []
        self._newlines()
        while not self._take("}"):
            key = self._string() if self._peek()[0] == "string" else _constant(self._name())
            self._expect(":")
            properties.append((key, self._value(False)))
            self._between("}")
        return lambda scope: {key(scope): value(scope) for key, value in properties}

    def _array(self) -> Expression:
        items: list[Expression] = []
        self._newlines()
        while not self._take("]"):
            items.append(self._expression())
            self._between("]")
        return lambda scope: [item(scope) for item in items]

    def _loop(self) -> Expression:
        pair = self._take("(")
        item = self._name()
        index = self._name() if pair and self._take(",") else ""
        if pair:
            self._expect(")")
        if self._name() != "in":
            self._fail()
        over = self._expression()
        self._expect(":")
        body = self._expression()
        self._expect("]")
        self._uses -= {item, index}
        return lambda scope: [body(_Inner(scope, {item: one, index: at})) for at, one in enumerate(over(scope))]

    def _arguments(self) -> list[Expression]:
        arguments: list[Expression] = []
        self._newlines()
        while not self._take(")"):
            arguments.append(self._expression())
            if self._peek()[1] != ")":
                self._expect(",")
        return arguments

    def _between(self, end: str) -> None:
        """Items stand on lines of their own, or have commas between them."""
        if self._peek()[1] != end and not self._take(","):
            self._expect("\n")
        self._newlines()

    def _literal(self) -> str:
        return str(self._string()({}))

    def _name(self) -> str:
        kind, text, _ = self._next()
        if kind != "name":
            self._at -= 1
            self._fail()
        return text

    def _peek(self) -> tuple[str, str, str]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str, str]:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, text: str) -> bool:
        found = self._peek()[0] in ("name", "mark") and self._peek()[1] == text
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if self._next()[1] != text:
            self._at -= 1
            self._fail()

    def _newlines(self) -> None:
        while self._peek()[0] == "newline":
            self._at += 1

    def _fail(self) -> None:
        _, text, where = self._peek()
        raise BicepError(f"{where}: unexpected {text!r}")


class _Inner(dict[str, Any]):
    """A loop's own names over those around it."""

    def __init__(self, outer: Scope, own: Mapping[str, Any]) -> None:
        super().__init__(own)
        self._outer = outer

    def __missing__(self, name: str) -> Any:
        return self._outer[name]


def _constant(value: Any) -> Expression:
    return lambda _: value


def _both(one: Expression, two: Expression, meaning: Callable[[Any, Any], Any]) -> Expression:
    return lambda scope: meaning(one(scope), two(scope))


def _member(value: Expression, name: str) -> Expression:
    return lambda scope: value(scope)[name]


def _called(value: Expression, name: str, arguments: list[Expression]) -> Expression:
    """A resource's function: `answers` holds what it gives, under its name with brackets."""
    if arguments:
        raise BicepError(f"{name}() with arguments")
    return lambda scope: value(scope)[f"{name}()"]
