"""The preflight of a plan: asks Azure, each thing once, what the checks must know, and reads the content to publish.

Never writes, and never fails: what can't be read is a finding too. What an answer means is decided in `plan.preflight`,
`plan.fit` and `sources.lint`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from controller import objects
from controller.cloud import port
from controller.model import conditions, desired, observed, outcome
from controller.model.kinds import Kind
from controller.plan import fit, preflight
from controller.sources import content, lint, manifest

SECONDS = 10.0
"""The most that one question may take: a plan is there in seconds, or says what it doesn't know."""

AT_ONCE = 16
"""Questions in flight."""

Key = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """What a check found of one object. `place` is where that begins, as `file:line:column`."""

    place: str
    found: preflight.Finding

    def __str__(self) -> str:
        return f"{self.place}: {self.found.message}"

    def as_json(self) -> dict[str, Any]:
        """An entry beside the plan's steps, with their keys, so that who reads steps isn't surprised: nothing is
        written, nothing is blocked. `level`, `message` and `place` are its own."""
        return {
            "step": "preflight",
            "name": self.found.check,
            "resource": "",
            "verb": None,
            "reason": None,
            "newRevision": False,
            "blocked": None,
            "changes": [],
            "left": [],
            "leftFor": None,
            "level": self.found.level,
            "message": self.found.message,
            "place": self.place,
        }


async def findings(
    cloud: port.Facts, source: manifest.Source, views: Mapping[Key, objects.View], *, memory: content.Memory
) -> dict[Key, tuple[Finding, ...]]:
    """What is worth saying of every object that was planned, by its key. `memory` holds the content's sums."""
    subjects = {key: _subject(source, key, view) for key, view in views.items()}
    answers = await _answers(cloud, (question for one in subjects.values() for question in one.questions))
    said = {key: [*subject.findings(answers)] for key, subject in subjects.items()}
    for loaded in source.apps:
        key = (loaded.object.kind, loaded.name)
        if key in views and preflight.coming(views[key].plan, Kind.CONTENT):
            quota = _quota(source.environment(loaded.object.spec.environment_ref), views[key].stack.share)
            said[key] += await asyncio.to_thread(_linted, loaded, quota=quota, memory=memory)
    return {key: tuple(_placed(source.find(*key), found)) for key, found in said.items()}


def _placed(loaded: manifest.LoadedAny, found: Iterable[preflight.Finding]) -> Iterator[Finding]:
    """Each once: two questions may come to nothing for one reason."""
    for one in dict.fromkeys(found):
        yield Finding(f"{loaded.file}:{loaded.line}:1", one)


def _subject(source: manifest.Source, key: Key, view: objects.View) -> preflight.Environment | fit.App:
    wanted = source.find(*key).object
    if isinstance(wanted, desired.Environment):
        return preflight.Environment(wanted, view.ids, view.stack, view.plan)
    name = wanted.spec.environment_ref
    peers = (one.object for one in source.apps if one.object.spec.environment_ref == name and one.name != key[1])
    return fit.App(wanted, source.environment(name), view.stack, view.plan, tuple(peers), view.seen)


def _quota(environment: desired.Environment, share: observed.Resource | None) -> int:
    """The share's GiB once the plan is carried out: what the YAML says, else what is there."""
    storage = environment.spec.storage
    if share is None or "share_quota_gib" in storage.model_fields_set:
        return storage.share_quota_gib
    return int(share.properties.get("shareQuota") or storage.share_quota_gib)


def _linted(loaded: manifest.LoadedApp, *, quota: int, memory: content.Memory) -> list[preflight.Finding]:
    """Of content that is about to be published. Blocking. Content that changes meanwhile is looked at when it is
    published."""
    try:
        files = content.collect(loaded.contents, top=loaded.top, memory=memory)
    except content.ContentError as error:
        return [preflight.Finding("note", "content", f"unknown: the content: {loaded.shown(str(error))}")]
    found = lint.findings(loaded.object, files, quota=quota)
    return [replace(one, message=loaded.shown(one.message)) for one in found]


async def _answers(
    cloud: port.Facts, questions: Iterable[preflight.Question]
) -> dict[preflight.Question, preflight.Answer]:
    """Each question asked once, side by side."""
    asked = tuple(dict.fromkeys(questions))
    room = asyncio.Semaphore(AT_ONCE)
    return dict(zip(asked, await asyncio.gather(*(_answer(cloud, one, room) for one in asked)), strict=True))


async def _answer(cloud: port.Facts, question: preflight.Question, room: asyncio.Semaphore) -> preflight.Answer:
    try:
        async with room, asyncio.timeout(SECONDS):
            return await _ask(cloud, question)
    except outcome.OutcomeError as error:
        reason = "" if isinstance(error.outcome, outcome.Done) else error.outcome.reason
        return preflight.Unanswered(reason, error.outcome.message)
    except TimeoutError:
        return preflight.Unanswered(conditions.Reason.TIMEOUT, f"no answer in {SECONDS:g} s")


async def _ask(cloud: port.Facts, question: preflight.Question) -> preflight.Answer:
    match question.about:
        case "name":
            refusal = await cloud.name_available(question.subscription, question.of)
            return ({"message": refusal},) if refusal else ()
        case "profiles":
            items = await cloud.profile_types(question.subscription, question.of)
        case "quota":
            items = await cloud.usages(question.subscription, question.of)
        case "environment":
            items = await cloud.environment_usages(question.of)
    return tuple(item.body for item in items)
