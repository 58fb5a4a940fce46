"""How messages reach their receivers, and that nobody waits for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
import structlog
from aiohttp import web
from pydantic import SecretStr

from controller.telemetry import http, notify, receivers

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PATH = "/hooks/very-private"


def notice(name: str, text: str = "is Ready") -> receivers.Notice:
    return receivers.Notice("InferenceApp", name, "Ready", "Ready", "so", text, NOW)


@dataclass(frozen=True)
class Plain:
    """A receiver that takes notices as lines."""

    url: Callable[[], str]
    name: str = "plain"
    takes: type[receivers.Message] = receivers.Notice
    at_once: int = 1
    pause: float = 0.0

    def request(self, entries: Sequence[receivers.Entry], *, now: datetime) -> receivers.Request:
        lines = [f"{entry.message.text}" for entry in entries if isinstance(entry.message, receivers.Notice)]
        headers = {"webhook-id": entries[0].id, "at": now.isoformat()}
        return receivers.Request(self.url(), headers, "\n".join(lines).encode())


@dataclass
class World:
    """A receiver's server, and the time that passes between tries. `answers` are given in turn, then 200."""

    base: str = ""
    answers: list[web.Response | Callable[[], Awaitable[web.Response]]] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    counted: list[tuple[str, str, int]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    while_asleep: Callable[[], None] = lambda: None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append(await request.text())
        self.ids.append(request.headers["webhook-id"])
        await self.tell()
        answer = self.answers.pop(0) if self.answers else web.Response()
        return answer if isinstance(answer, web.Response) else await answer()

    async def tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(so)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.while_asleep()
        await self.tell()

    def count(self, receiver: str, result: str, messages: int) -> None:
        self.counted.append((receiver, result, messages))
        self.told = asyncio.get_running_loop().create_task(self.tell())

    def url(self) -> str:
        return f"{self.base}{PATH}"

    @asynccontextmanager
    async def notifying(self, *told: receivers.Receiver) -> AsyncIterator[notify.Notifier]:
        async with (
            aiohttp.ClientSession() as session,
            notify.Notifier(
                told or (Plain(self.url),), session, count=self.count, sleep=self.sleep, now=lambda: NOW
            ) as notifier,
        ):
            yield notifier


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    app = web.Application()
    app.router.add_post(PATH, world.handle)
    async with http.serve(app, "127.0.0.1", 0) as port:
        world.base = f"http://127.0.0.1:{port}"
        yield world
        world.over.set()


async def test_a_message_is_delivered(world: World) -> None:
    """Once, and counted."""
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (world.got, world.counted, world.slept) == (["is Ready"], [("plain", "sent", 1)], [])


async def test_only_who_takes_a_kind_gets_it(world: World) -> None:
    """Commit statuses are not for people's channels."""
    async with world.notifying() as notifier:
        notifier.put(receivers.CommitStatus("1" * 40, "success", "applied"))
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert len(world.got) == 1


async def test_leaving_delivers_what_is_pending(world: World) -> None:
    """Without being waited for."""
    async with world.notifying() as notifier:
        for name in ("a", "b"):
            notifier.put(notice(name, name))

    assert (world.got, [result for _, result, _ in world.counted]) == (["a", "b"], ["sent", "sent"])


async def test_the_latest_message_about_an_object_wins(world: World) -> None:
    """What is outdated before it was sent isn't sent."""
    async with world.notifying() as notifier:
        notifier.put(notice("a", "old"))
        notifier.put(notice("b", "other"))
        notifier.put(notice("a", "new"))
        await world.until(lambda: len(world.counted) == 2)

    assert world.got == ["new", "other"]


async def test_what_comes_together_is_told_together(world: World) -> None:
    """As far as the receiver takes more than one, and with a pause before the next."""
    async with world.notifying(Plain(world.url, at_once=2, pause=1.5)) as notifier:
        for name in "abc":
            notifier.put(notice(name, name))
        await world.until(lambda: len(world.counted) == 2)

    assert (world.got, world.slept) == (["a\nb", "c"], [1.5])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_failure_that_may_pass_is_tried_again(world: World, status: int) -> None:
    """The same message under the same id."""
    world.answers = [web.Response(status=status)]
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (world.got, world.counted) == (["is Ready"] * 2, [("plain", "sent", 1)])
    assert world.ids[0] == world.ids[1]


async def test_tries_grow_apart_and_end(world: World) -> None:
    """Then the message is dropped with one line, which names no address, and the next one is tried."""
    world.answers = [web.Response(status=500) for _ in range(notify.TRIES)]
    with structlog.testing.capture_logs() as lines:
        async with world.notifying() as notifier:
            notifier.put(notice("a", "lost"))
            notifier.put(notice("b", "kept"))
            await world.until(lambda: len(world.counted) == 2)

    pauses = world.slept[: notify.TRIES - 1]
    assert all(2.0**i <= pause <= 2.0**i + 1 for i, pause in enumerate(pauses[:6]))
    assert max(pauses) <= notify.LONGEST_PAUSE
    assert (world.got[-1], world.counted) == ("kept", [("plain", "dropped", 1), ("plain", "sent", 1)])
    assert [(line["why"], line["receiver"]) for line in lines] == [("HTTP 500", "plain")]


@pytest.mark.parametrize("status", [307, 400, 401, 404, 410])
async def test_what_is_refused_for_good_is_not_tried_again(world: World, status: int) -> None:
    """Nor is a redirection followed: it would carry what is told elsewhere."""
    world.answers = [web.Response(status=status, headers={"Location": PATH})]
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (len(world.got), world.counted, world.slept) == (1, [("plain", "dropped", 1)], [])


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("90", 90.0),
        (format_datetime(NOW + timedelta(seconds=120), usegmt=True), 120.0),
        ("99999", notify.MOST_TOLD_PAUSE),
    ],
)
@pytest.mark.parametrize("status", [429, 403])
async def test_a_pause_that_is_asked_for_is_kept(world: World, value: str, pause: float, status: int) -> None:
    """In seconds or as a date, an hour at most; who says when to come back may be asked again."""
    world.answers = [web.Response(status=status, headers={"Retry-After": value})]
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (world.slept, world.counted) == ([pause], [("plain", "sent", 1)])


@pytest.mark.parametrize("value", ["soon", "-5", "Sun, 22 Nov 2026 11:00:00 -0000"])
async def test_a_pause_that_says_nothing_is_our_own(world: World, value: str) -> None:
    """Nonsense and the past."""
    world.answers = [web.Response(status=503, headers={"Retry-After": value})]
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert 1.0 <= world.slept[0] <= 2.0


async def test_between_tries_the_latest_wins(world: World) -> None:
    """A dead receiver that comes back isn't told what is over."""
    world.answers = [web.Response(status=500)]
    async with world.notifying() as notifier:
        world.while_asleep = lambda: notifier.put(notice("a", "new"))
        notifier.put(notice("a", "old"))
        await world.until(lambda: bool(world.counted))

    assert world.got == ["old", "new"]


async def test_a_message_that_outdates_one_on_its_way_is_sent_too(world: World) -> None:
    """Delivering the old one doesn't count for it."""
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slowly() -> web.Response:
        arrived.set()
        await go.wait()
        return web.Response()

    world.answers = [slowly]
    async with world.notifying() as notifier:
        notifier.put(notice("a", "old"))
        await arrived.wait()
        notifier.put(notice("a", "new"))
        go.set()
        await world.until(lambda: len(world.counted) == 2)

    assert world.got == ["old", "new"]


async def test_what_waits_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes, and is counted."""
    monkeypatch.setattr(notify, "MOST_PENDING", 2)
    async with world.notifying() as notifier:
        for name in "abc":
            notifier.put(notice(name, name))
        await world.until(lambda: len(world.counted) == 3)

    assert (world.got, world.counted[0]) == (["b", "c"], ("plain", "dropped", 1))


async def test_a_receiver_that_hangs_keeps_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who tells, nor another receiver, nor who leaves."""
    monkeypatch.setattr(notify, "LEAVE_SECONDS", 0.05)
    hanging = asyncio.Event()

    async def hang() -> web.Response:
        hanging.set()
        await world.over.wait()
        return web.Response()

    world.answers = [hang]
    with structlog.testing.capture_logs() as lines:
        async with world.notifying(Plain(world.url, name="hangs")) as slow:
            slow.put(notice("a"))
            await hanging.wait()
            async with world.notifying() as other:
                other.put(notice("b"))
                await world.until(lambda: ("plain", "sent", 1) in world.counted)
            began = time.monotonic()
        assert time.monotonic() - began < 5

    assert world.counted[-1] == ("hangs", "dropped", 1)
    assert [line["why"] for line in lines] == ["the controller ends"]


async def test_a_request_has_a_time_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is over counts as a failure that may pass."""
    monkeypatch.setattr(notify, "REQUEST_SECONDS", 0.05)

    async def hang() -> web.Response:
        await world.over.wait()
        return web.Response()

    world.answers = [hang]
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (len(world.got), world.counted) == (2, [("plain", "sent", 1)])


async def test_a_receiver_that_is_not_there_may_come(world: World, unused_tcp_port: int) -> None:
    """And its address is in no log line."""
    there = world.base
    world.base = f"http://127.0.0.1:{unused_tcp_port}"

    def come() -> None:
        world.base = there

    world.while_asleep = come
    async with world.notifying() as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))
    assert world.counted == [("plain", "sent", 1)]


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "http://[broken", "nonsense://"])
async def test_no_log_line_has_the_address(world: World, base: str) -> None:
    """Whatever the HTTP client says of it."""
    world.base = base
    with structlog.testing.capture_logs() as lines:
        async with world.notifying() as notifier:
            notifier.put(notice("a"))
            await world.until(lambda: bool(world.counted))

    assert [line["event"] for line in lines] == ["notifications dropped"]
    assert "private" not in str(lines)
    assert base not in str(lines)


async def test_a_secret_that_can_not_be_read_is_tried_again(world: World) -> None:
    """It may be written anew at this moment."""
    base, world.base = world.base, ""
    failures = [OSError("no such file")]

    def url() -> str:
        if failures:
            raise failures.pop()
        return f"{base}{PATH}"

    async with world.notifying(Plain(url)) as notifier:
        notifier.put(notice("a"))
        await world.until(lambda: bool(world.counted))

    assert (len(world.slept), world.counted) == (1, [("plain", "sent", 1)])


async def test_an_address_that_is_not_allowed_is_not_tried(world: World) -> None:
    """The log says what is wrong with it, not what it is."""
    slack = receivers.Slack(lambda: SecretStr("http://hooks.example/very-private"), "default")
    with structlog.testing.capture_logs() as lines:
        async with world.notifying(slack) as notifier:
            notifier.put(notice("a"))
            await world.until(lambda: bool(world.counted))

    assert world.counted == [("slack", "dropped", 1)]
    assert [line["why"] for line in lines] == ["its address must begin with https://"]


async def test_a_sender_outlives_a_message_that_breaks_it(world: World) -> None:
    """One that can't be made into a request is dropped, the next one is sent."""
    whole = notice("a")
    async with world.notifying(receivers.Slack(lambda: SecretStr(world.url()), "default")) as notifier:
        notifier.put(replace(whole, state="Odd"))  # type: ignore[arg-type]
        await world.until(lambda: bool(world.counted))
        assert world.counted == [("slack", "dropped", 1)]
