"""A scenario: what goes wrong with replicas, as rules in a YAML file or given at run time. The runtime plays them.

    rules:
      - {app: phi3-chat, does: pull-fails, seconds: 120}
      - {profile: GPU, does: capacity, replicas: 0, then: 1, after: 600}
      - {image: "*:broken", does: crash, exitCode: 3, after: 30}

`app`, `image` and `profile` (a workload profile's name) choose containers by glob patterns; what is left out is any.
`does`, with its own keys; every time is in seconds of Azure's:

    pull-fails     the image can't be pulled: for good, or for the first `seconds` of each replica
    pull-takes     pulling takes `seconds`
    capacity       of each matching profile, `replicas` fit at once; `then` that many, once one waited `after`
    quota          of the quota that a matching profile's GPUs count against, `gpus` are granted
    slow-start     ready only `seconds` after the container's start
    hang           never ready; a startup probe restarts it when its budget is over
    crash          ends with `exitCode` (1): before it is ready, or `after` it was ready for that long
    out-of-memory  the same by the kernel's hand, or, for a real process, once the container takes more than `memory`
    flap           ready for `ready`, then not for `unready`, and so on

Of several rules that say the same of a container, the first counts; different ones may come together, like slow-start
and crash. Rules on a container's run count from its next start, all others at once.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MATCHES = ("app", "image", "profile")
_MEMORY = re.compile(r"([0-9.]+)(Mi|Gi)")
_UNITS = {"Mi": 1024**2, "Gi": 1024**3}


class ScenarioError(Exception):
    """The file can't be played; the message has a line for each mistake: where, what, and what to write instead."""


@dataclass(frozen=True)
class Rule:
    """One rule, as in the module's text. `memory` is in bytes."""

    does: str
    app: str = "*"
    image: str = "*"
    profile: str = "*"
    seconds: float | None = None
    replicas: int | None = None
    then: int | None = None
    after: float | None = None
    gpus: int | None = None
    exit_code: int = 1
    memory: int | None = None
    ready: float | None = None
    unready: float | None = None

    def concerns(self, *, app: str, image: str, profile: str) -> bool:
        pairs = ((app, self.app), (image, self.image), (profile, self.profile))
        return all(fnmatch.fnmatchcase(value, pattern) for value, pattern in pairs)


class Scenario:
    """The rules in force. Each function in `on_change` is called when others come into force."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.on_change: list[Callable[[], None]] = []

    def play(self, *rules: Rule) -> None:
        """From now on these rules and no others."""
        self.rules = rules
        for call in self.on_change:
            call()

    def rule(self, *does: str, app: str, image: str, profile: str) -> Rule | None:
        """The first rule that says one of `does` of such a container."""
        found = (rule for rule in self.rules if rule.does in does)
        return next((rule for rule in found if rule.concerns(app=app, image=image, profile=profile)), None)

    def profile(self, does: str, profile: str) -> Rule | None:
        """The first rule that says `does` of a workload profile; `app` and `image` don't choose there."""
        found = (rule for rule in self.rules if rule.does == does)
        return next((rule for rule in found if fnmatch.fnmatchcase(profile, rule.profile)), None)


def load(path: Path) -> tuple[Rule, ...]:
    """The rules in the file. Raises ScenarioError."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}; give the path of a scenario") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: isn't YAML: {error}") from None
    reading = _Reading(path)
    rules = tuple(reading.rules(root))
    if reading.problems:
        raise ScenarioError("\n".join(reading.problems))
    return rules


@dataclass(frozen=True)
class _Key:
    """How one key is read: `read` gives None for a value that isn't `wanted`."""

    read: Callable[[Any], Any]
    wanted: str


@dataclass(frozen=True)
class _Nested:
    """Stands for a value that is no scalar."""

    kind: str

    def __repr__(self) -> str:
        return self.kind


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < float("inf") else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _exit_code(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255 else None


def _memory(value: Any) -> int | None:
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    try:
        return int(float(match[1]) * _UNITS[match[2]]) or None if match else None
    except ValueError:
        return None


_TIME = _Key(_seconds, "a number of seconds above 0")
_NUMBER = _Key(_count, "a whole number, 0 or more")
_PATTERN = _Key(_text, "a text with * for anything")
_KEYS = {
    "app": _PATTERN,
    "image": _PATTERN,
    "profile": _PATTERN,
    "seconds": _TIME,
    "replicas": _NUMBER,
    "then": _NUMBER,
    "after": _TIME,
    "gpus": _NUMBER,
    "exitCode": _Key(_exit_code, "an exit code, 0 to 255"),
    "memory": _Key(_memory, "a text like 300Mi or 2Gi"),
    "ready": _TIME,
    "unready": _TIME,
}
# What each rule must have, and what it may have.
_DOES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pull-fails": ((), ("seconds",)),
    "pull-takes": (("seconds",), ()),
    "capacity": (("replicas",), ("then", "after")),
    "quota": (("gpus",), ()),
    "slow-start": (("seconds",), ()),
    "hang": ((), ()),
    "crash": ((), ("exitCode", "after")),
    "out-of-memory": ((), ("after", "memory")),
    "flap": (("ready", "unready"), ()),
}
_OF_PROFILES = ("capacity", "quota")


class _Reading:
    """One pass over a file; `problems` collects what is wrong in it."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path

    def rules(self, root: yaml.Node | None) -> Iterator[Rule]:
        if not isinstance(root, yaml.MappingNode):
            self._wrong(root, "a scenario is a mapping; begin with `rules:`")
            return
        found = self._mapping(root, "", ("rules",))
        if "rules" not in found:
            self._wrong(root, "rules is missing; give a list of rules")
            return
        if not isinstance(found["rules"], yaml.SequenceNode):
            self._wrong(found["rules"], "rules must be a list; begin each rule with `-`")
            return
        for index, node in enumerate(found["rules"].value):
            rule = self._rule(node, f"rules[{index}]")
            if rule is not None:
                yield rule

    def _rule(self, node: yaml.Node, where: str) -> Rule | None:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, f"{where} must be a mapping, like {{app: NAME, does: hang}}")
            return None
        found = self._mapping(node, where, ("does", *_KEYS))
        does = _value(found["does"]) if "does" in found else None
        if does not in _DOES:
            said = "is missing" if "does" not in found else f"is {does!r}"
            self._wrong(found.get("does", node), f"{where}.does {said}; write one of {', '.join(_DOES)}")
            return None
        return self._of(node, found, where, str(does))

    def _of(self, node: yaml.Node, found: dict[str, yaml.Node], where: str, does: str) -> Rule | None:
        needed, others = _DOES[does]
        allowed = (*(("profile",) if does in _OF_PROFILES else MATCHES), *needed, *others)
        before = len(self.problems)
        for key in needed:
            if key not in found:
                self._wrong(node, f"{where}.{key} is missing; {does} needs {_KEYS[key].wanted}")
        values = {key: self._read(key, at, where, does, allowed) for key, at in found.items() if key != "does"}
        if ("then" in values) != ("after" in values) and does == "capacity":
            self._wrong(node, f"{where}: then and after belong together; give both or neither")
        if len(self.problems) > before:
            return None
        return Rule(does, **{_FIELDS[key]: value for key, value in values.items()})

    def _read(self, key: str, node: yaml.Node, where: str, does: str, allowed: tuple[str, ...]) -> Any:
        if key not in allowed:
            self._wrong(node, f"{where}.{key} means nothing for {does}; it takes {', '.join(allowed)}")
            return None
        value = _value(node)
        read = _KEYS[key].read(value)
        if read is None:
            self._wrong(node, f"{where}.{key} is {value!r}; write {_KEYS[key].wanted}")
        return read

    def _mapping(self, node: yaml.MappingNode, where: str, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key, said = _value(key_node), f"{where}.{_value(key_node)}".lstrip(".")
            if key not in known:
                self._wrong(key_node, f"{said} isn't known; write one of {', '.join(known)}")
            elif key in found:
                self._wrong(key_node, f"{said} stands there twice; keep one")
            else:
                found[key] = value
        return found

    def _wrong(self, node: yaml.Node | None, text: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self.problems.append(f"{self._path}:{line}: {text}")


_FIELDS = {key: "exit_code" if key == "exitCode" else key for key in _KEYS}


def _value(node: yaml.Node) -> Any:
    """The node as Python has it, where it is a scalar."""
    if not isinstance(node, yaml.ScalarNode):
        return _Nested("a list" if isinstance(node, yaml.SequenceNode) else "a mapping")
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except ValueError:  # a date that isn't one
        return node.value
    finally:
        loader.dispose()
