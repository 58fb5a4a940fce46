"""What an AI Toolkit project's Bicep declares, with the project's parameters put in.

Evaluates literals, parameters, variables and the few functions those files use; everything else is `UNKNOWN`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lark.exceptions import LarkError
from pycep import BicepParser

from controller.model import identity

Json = dict[str, Any]

_INSERTED = re.compile(r"(?<!\\)\$\{([^}]*)\}")
_VERBATIM = re.compile(r"'''\n?(.*?)'''", re.DOTALL)
_ESCAPED = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|([nrt]|.))")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_MOST_STEPS = 50
"""How deep parameters and variables may stand on each other."""


class _Unknown:
    """What only a deployment would tell."""

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN: Final = _Unknown()


class BicepError(Exception):
    """`line` and `column` of what isn't Bicep."""

    def __init__(self, message: str, *, line: int, column: int) -> None:
        super().__init__(message)
        self.line, self.column = line, column


class Bicep:
    """One file, deployed to the resource group `group_id` with `parameters`. One that is None takes its default."""

    def __init__(self, text: str, *, parameters: Mapping[str, Any], group_id: str) -> None:
        """Raises BicepError."""
        self._text = text
        self._given = {name: value for name, value in parameters.items() if value is not None}
        self._group_id = group_id
        self._verbatim = frozenset(_VERBATIM.findall(text))
        parsed: Any = _parsed(text)
        self._parameters: Json = parsed.get("parameters") or {}
        self._variables: Json = parsed.get("variables") or {}
        self._resources: Json = parsed.get("resources") or {}

    def resource(self, kind: str) -> Json | None:
        """The first resource of the type, with its values; None where the file declares none."""
        for one in self._resources.values():
            if str(one.get("type")).lower() == kind.lower() and not one.get("existing"):
                value = self._value(one.get("config") or {}, _MOST_STEPS)
                return dict(value) if isinstance(value, Mapping) else None
        return None

    def parameter(self, name: str) -> Any:
        """Its value, UNKNOWN where it has none."""
        return self._named(name, _MOST_STEPS)

    def place(self, key: str) -> tuple[int, int]:
        """Line and column of the parameter, or of the last property, called so; else the file's beginning. The app is
        the last resource."""
        named = rf"(?m)(?:^[ \t]*param[ \t]+|(?:^|[{{,])[ \t]*(?={re.escape(key)}[ \t]*:))({re.escape(key)})\b"
        found = [match.start(1) for match in re.finditer(named, self._text)] if key else []
        before = self._text[: found[-1]] if found else ""
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

    def _value(self, value: Any, left: int) -> Any:
        if left == 0:
            return UNKNOWN
        if isinstance(value, str):
            return self._text_value(value, left - 1)
        if isinstance(value, list):
            return [self._value(item, left - 1) for item in value]
        if not isinstance(value, Mapping):
            return value
        if value.keys() == {"function"}:
            return self._function(value["function"], left - 1)
        if value.keys() == {"operator"}:
            return self._operator(value["operator"], left - 1)
        return {key: self._value(item, left - 1) for key, item in value.items()}

    def _text_value(self, text: str, left: int) -> Any:
        """The parser gives a name and a literal alike, so a literal that is spelled like a name counts as one."""
        if text in self._verbatim:
            return text
        if text in self._parameters or text in self._variables or text in self._resources:
            return self._named(text, left)
        parts = {name: self._named(name.strip(), left) for name in _INSERTED.findall(text)}
        if not all(isinstance(part, (str, int)) for part in parts.values()):
            return UNKNOWN
        return _unescaped(_INSERTED.sub(lambda match: str(parts[match[1]]).replace("\\", "\\\\"), text))

    def _named(self, name: str, left: int) -> Any:
        if name in self._given and name in self._parameters:
            return self._given[name]
        default = (self._parameters.get(name) or {}).get("default")
        if default is not None:
            return self._value(default, left)
        return self._value(self._variables[name]["value"], left) if name in self._variables else UNKNOWN

    def _function(self, call: Mapping[str, Any], left: int) -> Any:
        given = {key: self._value(one, left) for key, one in (call.get("parameters") or {}).items()}
        match call.get("type"), given:
            case "join", {"input_array": list(items), "delimiter": str(between)} if all(
                isinstance(item, str) for item in items
            ):
                return between.join(items)
            case "substring", {"string_to_parse": str(text), "start_index": int(start), "length": int(length)}:
                return text[start : start + length]
            case "unique_string", {"base_string": str(text)}:
                return identity.unique_string(text)
            case "replace", {"original_string": str(text), "old_string": str(old), "new_string": str(new)}:
                return text.replace(old, new)
            case "concat", arrays if all(isinstance(one, list) for one in arrays.values()):
                return [item for one in arrays.values() for item in one]
            case "take", {"original_value": list(items), "number_to_take": int(count)}:
                return items[: max(0, count)]
            case "last", {"arg_1": list([*_, item])}:
                return item
            case "length", {"arg_1": list(items)}:
                return len(items)
        return UNKNOWN

    def _operator(self, operator: Mapping[str, Any], left: int) -> Any:
        """A difference, and `resourceGroup().id`; its location is known to Azure only, as everything else is."""
        operands = operator.get("operands") or {}
        if operator.get("type") == "substract":
            one, other = (self._value(operands.get(name), left) for name in ("operand_1", "operand_2"))
            return one - other if isinstance(one, int) and isinstance(other, int) else UNKNOWN
        whose = (operands.get("operand_1") or {}) if isinstance(operands.get("operand_1"), Mapping) else {}
        group = (whose.get("function") or {}).get("type") == "resource_group"
        return self._group_id if group and operands.get("operand_2") == "id" else UNKNOWN


def _unescaped(text: str) -> str:
    """Bicep's escapes, which the parser leaves as they are."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2]), text)


def read(path: Path) -> str:
    """Raises OSError, ValueError (not UTF-8)."""
    return path.read_text(encoding="utf-8-sig")


def _parsed(text: str) -> Any:
    try:
        return BicepParser().parse(text=text)
    except LarkError as error:
        line, column = getattr(error, "line", 1), getattr(error, "column", 1)
        raise BicepError("this isn't Bicep, or Bicep that isn't known here", line=line, column=column) from None
