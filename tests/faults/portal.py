"""Somebody who edits at the portal between the controller's read and its write, at the worst moment: just before the
write goes out. What is theirs survives, but inside what the service replaces whole: an array, and the tags of a storage
account or a workspace.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults import case, scenarios, seam, world
from tests.local_azure.conftest import asking

Json = dict[str, Any]
NAME = "portal"

ENDS = 180.0
"""Virtual seconds after which the edit's own operation has ended."""


@dataclass(frozen=True)
class Edit:
    """`change` edits a live resource's own answer into the body of a PATCH; `there` tells whether it is still so.
    `whole` is the path of what is replaced whole and holds it, empty for nothing; `ours`: that it is the controller's
    to take back."""

    named: str
    type: str
    change: Callable[[Json, Sequence[Json]], Json]
    there: Callable[[Json, Sequence[Json]], bool]
    whole: tuple[str, ...] = ()
    ours: bool = False


def _template(live: Json) -> Json:
    return dict(live["properties"]["template"])


def _container(live: Json) -> Json:
    return dict(next(one for one in _template(live)["containers"] if one["name"] not in ("portal", "sidecar")))


def _variable(live: Json, secrets: Sequence[Json]) -> Json:
    template = _template(live)
    template["containers"][0]["env"] = [*(template["containers"][0].get("env") or ()), {"name": "THEIRS", "value": "1"}]
    return {"properties": {"template": template}}


def _sidecar(live: Json, secrets: Sequence[Json]) -> Json:
    template = _template(live)
    sidecar = {"name": "portal", "image": "docker.io/library/busybox:1"}
    return {"properties": {"template": {**template, "containers": [*template["containers"], sidecar]}}}


def _volume(live: Json, secrets: Sequence[Json]) -> Json:
    template = _template(live)
    volume = {"name": "portal", "storageType": "EmptyDir"}
    return {"properties": {"template": {**template, "volumes": [*(template.get("volumes") or ()), volume]}}}


def _rule(live: Json, secrets: Sequence[Json]) -> Json:
    scale = dict(_template(live)["scale"])
    rule = {"name": "portal", "tcp": {"metadata": {"concurrentConnections": "50"}}}
    return {"properties": {"template": {"scale": {**scale, "rules": [*(scale.get("rules") or ()), rule]}}}}


def _secret(live: Json, secrets: Sequence[Json]) -> Json:
    theirs = {"name": "portal", "value": scenarios.THEIRS}
    return {"properties": {"configuration": {"secrets": [*secrets, theirs]}}}


def _named(items: Any, name: str = "portal") -> bool:
    return any(one["name"] == name for one in items or ())


TAG = {"somebody": "was here"}

EDITS: tuple[Edit, ...] = (
    Edit(
        "variable",
        "containerapps",
        _variable,
        lambda live, _: _named(_container(live).get("env"), "THEIRS"),
        ("properties", "template", "containers"),
        ours=True,
    ),
    Edit(
        "container",
        "containerapps",
        _sidecar,
        lambda live, _: _named(_template(live)["containers"], "portal"),
        ("properties", "template", "containers"),
    ),
    Edit(
        "volume",
        "containerapps",
        _volume,
        lambda live, _: _named(_template(live).get("volumes")),
        ("properties", "template", "volumes"),
    ),
    Edit(
        "scale rule",
        "containerapps",
        _rule,
        lambda live, _: _named(_template(live)["scale"].get("rules")),
        ("properties", "template", "scale", "rules"),
    ),
    Edit(
        "secret",
        "containerapps",
        _secret,
        lambda _, secrets: _named(secrets),
        ("properties", "configuration", "secrets"),
    ),
    Edit(
        "ingress",
        "containerapps",
        lambda live, _: {"properties": {"configuration": {"ingress": {"clientCertificateMode": "accept"}}}},
        lambda live, _: live["properties"]["configuration"]["ingress"].get("clientCertificateMode") == "accept",
    ),
    *(
        Edit(
            "tag",
            kind,
            lambda live, _: {"tags": {**(live.get("tags") or {}), **TAG}},
            lambda live, _: _tagged(live),
            all_tags,
        )
        for kind, all_tags in (
            ("containerapps", ()),
            ("managedenvironments", ()),
            ("storageaccounts", ("tags",)),
            ("workspaces", ("tags",)),
        )
    ),
)


def _tagged(live: Json) -> bool:
    return bool((live.get("tags") or {}).get("somebody"))


@dataclass(frozen=True)
class Case:
    """An edit just before a call of a scenario."""

    scenario: str
    index: int
    edit: int

    @property
    def named(self) -> str:
        return f"{self.scenario}:{self.index}.{NAME}-{EDITS[self.edit].type}-{EDITS[self.edit].named}".replace(" ", "-")


def cases(learned: Mapping[str, Any]) -> Iterator[Case]:
    """Every edit before every write that updates a resource of its type, but not amid a rollout: there an edited
    template is a release of its own, with consequences of its own."""
    for name, one in learned.items():
        if one.prepared.scenario.about:
            continue
        for index, seen in enumerate(one.baseline.seen):
            for number, edit in enumerate(EDITS):
                if seen.call.method == "PATCH" and seen.call.path.lower().split("/")[-2] == edit.type:
                    yield Case(name, index, number)


def carry_out(wanted: Case, prepared: scenarios.Prepared, baseline: case.Baseline) -> tuple[str, str, list[str]]:
    """The edit's name, what became of it (`kept`, `lost`, `ours`, `never`), and what is wrong."""
    edit, call = EDITS[wanted.edit], baseline.seen[wanted.index].call
    made = _Editing(edit, call)
    done = asyncio.run(case.run(prepared, made.seam, ending=made.ended, restless=case.RESTLESS))
    fate, broken = made.fate, list(done.broken)
    if fate == "lost" and not (edit.whole and made.written):
        broken.append(f"{edit.named}: lost, though the write held nothing around it")
    return f"{edit.type} {edit.named}", fate, broken


class _Editing:
    """Makes the edit, and looks at the end what became of it."""

    def __init__(self, edit: Edit, call: seam.Call) -> None:
        self._edit = edit
        self._path = ""
        self.fate = "never"
        self.written = False
        self.seam = seam.Seam(edits={call: self._make})
        self._here: world.World | None = None

    async def _make(self, request: Any) -> None:
        here = self.seam.world
        self._path = request.url.partition("?")[0].removeprefix(here.local.url)
        self.written = _holds(json.loads(_content(request)), self._edit.whole)
        live, secrets = await self._live(here)
        async with asking(here.local) as ask:
            answer = await ask("PATCH", self._path, _without_suffix(self._edit.change(live, secrets)))
            assert answer.status < 300, answer
        here.time.advance(ENDS)
        self.fate = "made"

    async def ended(self, here: world.World) -> list[str]:
        if self.fate == "never":
            return []
        live, secrets = await self._live(here)
        self.fate = "kept" if self._edit.there(live, secrets) else "ours" if self._edit.ours else "lost"
        if self._edit.ours and self.fate == "kept":
            return [f"{self._edit.named} of ours was left as somebody changed it"]
        return []

    async def _live(self, here: world.World) -> tuple[Json, Sequence[Json]]:
        async with asking(here.local) as ask:
            live = (await ask("GET", self._path)).body
            if "/containerapps/" not in self._path.lower():
                return live, ()
            return live, (await ask("POST", f"{self._path}/listSecrets")).body["value"]


def _without_suffix(body: Json) -> Json:
    """A template that changes needs another suffix than the one it had, or none: a re-used one is refused."""
    properties = body.get("properties") or {}
    if "template" not in properties:
        return body
    return {**body, "properties": {**properties, "template": {**properties["template"], "revisionSuffix": None}}}


def _content(request: Any) -> bytes:
    data = request.content if hasattr(request, "content") else request.data
    return data if isinstance(data, bytes) else str(data).encode()


def _holds(body: Any, path: Sequence[str]) -> bool:
    """Whether the body has something at the path."""
    for name in path:
        if not isinstance(body, dict) or name not in body:
            return False
        body = body[name]
    return bool(path)


def table(found: Sequence[tuple[str, str, list[str]]]) -> str:
    """What became of each edit."""
    counts: Counter[tuple[str, str]] = Counter()
    for name, fate, broken in found:
        counts[name, fate] += 1
        counts[name, "violations"] += bool(broken)
    columns = ("kept", "lost", "ours", "never", "violations")
    heads = ("survived", "lost inside what we wrote whole", "taken back as ours", "never reached", "violations")
    lines = ["An edit at the portal between read and write:" + "".join(f"  {head}" for head in heads)]
    for name in dict.fromkeys(name for name, _, _ in found):
        cells = "".join(f"  {counts[name, column]:>{len(head)}}" for column, head in zip(columns, heads, strict=True))
        lines.append(f"{name:<45}{cells}")
    return "\n".join(lines)
