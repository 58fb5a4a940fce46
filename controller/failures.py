"""Why an app's releases failed, on its share: the latest failures as one small file, so that cause, evidence and log
outlive the controller.

Best effort: a file that can't be written or read is a warning, never the end of a pass. What is read may have been
written by anybody who can write to the share, the app itself among them: it is checked, cut and cleaned, shown to
people, and decides nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Annotated

import pydantic
import structlog
from pydantic import SecretStr

from controller.cloud import port
from controller.model import observed, outcome, printable, releases, tags
from controller.status import store
from controller.telemetry import log as logs

KEPT = 5
"""Failures that the file holds: the latest."""

LARGEST = 1024 * 1024
"""Bytes of a file that is read: more than is ever written."""

TEXT = 32 * 1024
"""Bytes of a failure's log that are kept, its end, and of its evidence, its beginning."""

PATIENCE = 20.0
"""The most seconds for a look into the file, and for a change of it."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """The file of one app: at `path` on a share of `account`."""

    account: observed.Resource
    share: str
    path: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account.id.lower(), self.share, self.path)


def place(owner: tags.Owner, stack: observed.Stack, *, share: str) -> Place | None:
    """Where the failures of the owner's app are kept; None while its share isn't there, or its keys can't be read."""
    if stack.account is None or not stack.account.usable or stack.share is None or not stack.keys:
        return None
    return Place(stack.account, share, f".acaops/{owner.inventory}/{owner.name}/failures.json")


@dataclass
class Journal:
    """Enters each failure once. What it remembers only saves requests."""

    cloud: port.Cloud
    _entered: dict[tuple[str, str, str], tuple[releases.Run, set[str]]] = field(default_factory=dict)
    _recalled: dict[tuple[str, str, str], releases.Run] = field(default_factory=dict)

    async def enter(self, at: Place, failure: store.Failure, *, secrets: Iterable[SecretStr]) -> None:
        """See to it that the file has this failure: the run and its cause. Where that doesn't work, the next call tries
        again."""
        causes = self._causes(at, failure.run)
        if failure.cause in causes:
            return
        try:
            async with asyncio.timeout(PATIENCE), self.cloud.share(at.account, at.share) as share:
                known = await _read(share, at.path)
                if not any((one.run, one.cause) == (failure.run, failure.cause) for one in known):
                    await share.write(at.path, written((*known, _without(failure, secrets))))
        except Exception as error:
            log.warning("a failure isn't kept on the share yet", path=at.path, message=said(error))
        else:
            causes.add(failure.cause)

    async def recall(self, at: Place, run: releases.Run) -> store.Failure | None:
        """The latest failure of `run` in the file, which is read once for it."""
        if self._recalled.get(at.key) == run:
            return None
        try:
            known = await read(self.cloud, at)
        except Exception as error:
            log.warning("the failures on the share can't be read", path=at.path, message=said(error))
            return None
        self._recalled[at.key] = run
        found = next((one for one in reversed(known) if one.run == run), None)
        if found:
            self._causes(at, run).add(found.cause)
        return found

    def _causes(self, at: Place, run: releases.Run) -> set[str]:
        """Those that are in the file, of the run that failed last."""
        if at.key not in self._entered or self._entered[at.key][0] != run:
            self._entered[at.key] = (run, set())
        return self._entered[at.key][1]


async def read(cloud: port.Cloud, at: Place) -> tuple[store.Failure, ...]:
    """The failures in the file, oldest first; none where there is no file, or one that isn't ours by its looks. Raises
    OutcomeError, and TimeoutError after PATIENCE."""
    async with asyncio.timeout(PATIENCE), cloud.share(at.account, at.share) as share:
        return await _read(share, at.path)


async def _read(share: port.Share, path: str) -> tuple[store.Failure, ...]:
    size = await share.size(path)
    if size is None:
        return ()
    try:
        if size > LARGEST:
            raise ValueError(f"it has {size} bytes, more than {LARGEST}")
        return parsed(await share.read(path) or b"")
    except ValueError as error:
        log.warning("the failures on the share are ignored", path=path, problem=str(error))
        return ()


class _Entry(pydantic.BaseModel):
    """A failure as it stands in the file."""

    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    release: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{16}$")]
    attempt: Annotated[int, pydantic.Field(ge=1, le=999_999)]
    revision: Annotated[str, pydantic.Field(max_length=100)]
    cause: Annotated[str, pydantic.Field(pattern=r"^[A-Za-z]{1,40}$")]
    message: str
    evidence: tuple[str, ...]
    log: tuple[str, ...]
    when: pydantic.AwareDatetime
    rejected: bool


class _File(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    failures: tuple[_Entry, ...]


def parsed(data: bytes) -> tuple[store.Failure, ...]:
    """The failures in the text of a file, the latest at most. Raises ValueError, without a word of the text."""
    try:
        entries = _File.model_validate_json(data).failures[-KEPT:]
        return tuple(_fit(_failure(entry)) for entry in entries)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ValueError(f"it isn't a file of failures: {first['type']}") from None
    except OverflowError:
        raise ValueError("it isn't a file of failures: a time out of range") from None


def written(failures: Sequence[store.Failure]) -> bytes:
    """The file's text, with the latest ones."""
    told = [_fit(one).as_json() for one in failures[-KEPT:]]
    return json.dumps({"failures": told}, indent=1).encode()


def _failure(entry: _Entry) -> store.Failure:
    return store.Failure(
        release=entry.release,
        attempt=entry.attempt,
        revision=entry.revision,
        cause=entry.cause,
        message=entry.message,
        evidence=entry.evidence,
        log=entry.log,
        when=entry.when.astimezone(UTC),
        rejected=entry.rejected,
    )


def _without(failure: store.Failure, secrets: Iterable[SecretStr]) -> store.Failure:
    """The failure without the app's secrets, in whatever it quotes: a file is read by more people than a status."""
    known = tuple(secrets)
    (message,) = logs.redacted([failure.message], secrets=known)
    evidence, lines = (logs.redacted(each, secrets=known) for each in (failure.evidence, failure.log))
    return replace(failure, message=message, evidence=evidence, log=lines)


def _fit(failure: store.Failure) -> store.Failure:
    """The failure with what may be shown of it, at a bearable length."""
    lines = tuple(_within(map(_line, reversed(failure.log[-logs.KEPT_LINES :]))))
    return replace(
        failure,
        revision=_line(failure.revision),
        message=_line(failure.message),
        evidence=tuple(_within(map(_line, failure.evidence))),
        log=lines[::-1],
    )


def _line(text: str) -> str:
    """Without what a terminal would obey, and without halves of characters, which can't be written."""
    shown = printable.plain(text).encode(errors="replace").decode()
    return shown if len(shown) <= logs.KEPT_LENGTH else f"{shown[: logs.KEPT_LENGTH - 1]}…"


def _within(lines: Iterable[str]) -> Iterator[str]:
    """The first of the lines, as many as there is room for."""
    left = TEXT
    for line in lines:
        left -= len(json.dumps(line))
        if left < 0:
            return
        yield line


def said(error: Exception) -> str:
    """What went wrong, in a line, as people are told."""
    match error:
        case outcome.OutcomeError():
            return error.outcome.message
        case TimeoutError():
            return f"not done after {PATIENCE:g} s"
    return f"{type(error).__name__}: {error}"
