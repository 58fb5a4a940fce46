"""The file of an app's failures: what goes into it, what is believed of it, and how often the share is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pydantic import SecretStr
from structlog import testing

from controller import failures
from controller.cloud import port
from controller.model import observed, outcome, releases, tags
from controller.status import store

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUN = releases.Run("0123456789abcdef")
FAILED = store.Failure(
    RUN.release, 1, "chat--one", "CommandFailed", "it ends", ("exit code 1",), ("first", "last"), NOW, rejected=True
)
ACCOUNT = observed.Resource(
    {"id": "/subscriptions/s/a/one", "name": "one", "properties": {"provisioningState": "Succeeded"}}
)
STACK = observed.Stack(account=ACCOUNT, share=ACCOUNT, keys=("0",))
PATH = ".acaops/inv/chat/failures.json"
OUT = outcome.OutcomeError(outcome.Transient("ConnectionFailed", "the share doesn't answer"))


@dataclass
class Share:
    """A cloud whose shares are all this one. `asked` are the calls, in order; `broken` is raised by those named."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)

    def share(self, _account: observed.Resource, _name: str) -> Share:
        return self

    async def __aenter__(self) -> Share:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def size(self, path: str) -> int | None:
        self._ask("size")
        return len(self.files[path]) if path in self.files else None

    async def read(self, path: str) -> bytes | None:
        self._ask("read")
        return self.files.get(path)

    async def write(self, path: str, data: bytes) -> None:
        self._ask("write")
        self.files[path] = data

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.broken:
            raise self.broken[what]

    @property
    def causes(self) -> list[str]:
        return [one.cause for one in failures.parsed(self.files[PATH])]


def place() -> failures.Place:
    found = failures.place(tags.Owner("inv", "InferenceApp", "chat"), STACK, share="models")
    assert found is not None
    return found


def journal(share: Share) -> failures.Journal:
    return failures.Journal(cast(port.Cloud, share))


def text(**entry: Any) -> bytes:
    return json.dumps({"failures": [FAILED.as_json() | entry]}).encode()


@pytest.mark.parametrize(
    "stack",
    [
        observed.Stack(),
        replace(STACK, share=None),
        replace(STACK, keys=None),
        replace(STACK, account=observed.Resource({"id": "/a", "properties": {"provisioningState": "Creating"}})),
    ],
    ids=["nothing", "no share", "no keys", "account under way"],
)
def test_there_is_a_place_once_the_share_can_be_used(stack: observed.Stack) -> None:
    """Beside the app's bundles and its mirror manifest."""
    assert place().path == PATH
    assert failures.place(tags.Owner("inv", "InferenceApp", "chat"), stack, share="models") is None


def test_what_is_written_is_read_again() -> None:
    """The latest five."""
    several = [replace(FAILED, attempt=number) for number in range(1, 8)]
    assert failures.parsed(failures.written(several)) == tuple(several[2:])


def test_the_file_stays_small() -> None:
    """Of a log its end, of the evidence its beginning, of every text a bearable length."""
    long = replace(FAILED, message="ü" * 9999, evidence=("💥" * 999,) * 99, log=("x" * 999,) * 500 + ("the end",))
    data = failures.written([long] * 9)
    assert len(data) < failures.LARGEST / 2
    (*_, found) = failures.parsed(data)
    assert (found.log[-1], len(found.log) < 40, len(found.message)) == ("the end", True, 1000)
    assert found.evidence[0].startswith("💥")


def test_nothing_in_it_moves_a_terminal() -> None:
    """Control sequences go, whether we write them or somebody else did."""
    nasty, left = "\x1b[2J\x1b]0;owned\x07red\x9b31m\ud800", "]0;ownedred31m?"
    (ours,) = failures.parsed(
        failures.written([replace(FAILED, message=nasty, evidence=(nasty,), log=(nasty,), revision=nasty)])
    )
    (theirs,) = failures.parsed(text(message="\x1b[2Jred", log=["\x07bell"], revision="\x9bchat"))
    assert (ours.message, ours.evidence, ours.log, ours.revision) == (left, (left,), (left,), left)
    assert (theirs.message, theirs.log, theirs.revision) == ("red", ("bell",), "chat")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"failures": null}',
        b'{"failures": [7]}',
        text(release="../../etc"),
        text(attempt=True),
        text(attempt=10**30),
        text(cause="Command Failed"),
        text(message=None),
        text(log="line"),
        text(evidence=[1]),
        text(when="yesterday"),
        text(when="2026-11-23T12:00:00"),
        text(when="9999-12-31T23:59:59-23:00"),
        text(when="0001-01-01T00:00:00+23:00"),
        text(rejected="yes"),
        text(log=["\ud800"]),
    ],
)
async def test_what_is_no_such_file_is_ignored(data: bytes) -> None:
    """With a warning that quotes nothing of it; the next failure takes its place."""
    share = Share({PATH: data})
    with testing.capture_logs() as logs:
        assert await failures.read(cast(port.Cloud, share), place()) == ()
    assert [one["log_level"] for one in logs] == ["warning"]
    assert not any(word in str(logs) for word in ("etc", "yesterday", "chat--one"))
    await journal(share).enter(place(), FAILED, secrets=())
    assert share.causes == ["CommandFailed"]


async def test_a_huge_file_is_not_even_read() -> None:
    """An app that can write to its share can't fill the controller's memory."""
    share = Share({PATH: b" " * (failures.LARGEST + 1)})
    with testing.capture_logs() as logs:
        assert await failures.read(cast(port.Cloud, share), place()) == ()
    assert share.asked == ["size"]
    assert "1048577 bytes" in logs[0]["problem"]


async def test_a_failure_is_written_once() -> None:
    """The run and its cause, also by the next controller; another cause is another failure."""
    share = Share()
    for one in (journal(share), journal(share)):
        for _ in range(3):
            await one.enter(place(), FAILED, secrets=())
    assert share.asked == ["size", "write", "size", "read"]
    await one.enter(place(), replace(FAILED, cause="ProbeFailed", when=NOW.replace(hour=13)), secrets=())
    await one.enter(place(), replace(FAILED, attempt=2), secrets=())
    assert share.causes == ["CommandFailed", "ProbeFailed", "CommandFailed"]


@pytest.mark.parametrize("call", ["size", "read", "write"])
@pytest.mark.parametrize("error", [OUT, TimeoutError(), RuntimeError("a bug")], ids=["refused", "timeout", "bug"])
async def test_what_can_not_be_written_is_tried_again(call: str, error: Exception) -> None:
    """A warning, and nothing else."""
    share = Share({PATH: failures.written([replace(FAILED, cause="ProbeFailed")])}, broken={call: error})
    one = journal(share)
    with testing.capture_logs() as logs:
        await one.enter(place(), FAILED, secrets=())
    assert [(each["log_level"], each["event"]) for each in logs] == [
        ("warning", "a failure isn't kept on the share yet")
    ]
    share.broken.clear()
    await one.enter(place(), FAILED, secrets=())
    assert share.causes == ["ProbeFailed", "CommandFailed"]


async def test_no_secret_goes_into_it() -> None:
    """Neither the app's own, in whatever is quoted, nor what looks like one."""
    share = Share()
    said = 'key hunter2hunter2 "hunter2hunter2" Bearer abc.def password=opensesame'
    failed = replace(FAILED, message=said, evidence=(said,), log=(said, "fine"))
    await journal(share).enter(place(), failed, secrets=[SecretStr("hunter2hunter2")])
    kept = share.files[PATH].decode()
    assert not any(word in kept for word in ("hunter2", "abc.def", "opensesame"))
    assert "fine" in kept


async def test_a_run_is_recalled_once() -> None:
    """Its latest failure; and that one needn't be entered again. What can't be read is asked for again."""
    share = Share({PATH: failures.written([FAILED, replace(FAILED, cause="ProbeFailed"), replace(FAILED, attempt=2)])})
    one, share.broken["read"] = journal(share), OUT
    with testing.capture_logs() as logs:
        assert await one.recall(place(), RUN) is None
    assert [each["log_level"] for each in logs] == ["warning"]
    share.broken.clear()
    found = await one.recall(place(), RUN)
    assert found == replace(FAILED, cause="ProbeFailed")
    share.asked.clear()
    assert await one.recall(place(), RUN) is None
    await one.enter(place(), found, secrets=())
    assert share.asked == []
    assert await one.recall(place(), releases.Run("f" * 16)) is None
