"""What `POST /hook/git` lets through."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
import structlog
from aiohttp import web
from pydantic import SecretStr

from controller.telemetry import hook, http, pushes

SECRET = "correct horse"
PUSH = {"ref": "refs/heads/main", "after": "a" * 40}
AZURE = {"eventType": "git.push", "resource": {"refUpdates": [{"name": "refs/heads/main"}]}}
FETCHING = (202, {"status": "fetching"})
FORGED = (401, {"error": "not authentic"})


@dataclass
class World:
    """What the hook is given; tests change it."""

    secret: str | Exception = SECRET
    now: float = 0.0
    pushed: int = 0
    counted: list[str] = field(default_factory=list)
    providers: list[str] = field(default_factory=list)
    base: str = ""
    port: int = 0
    session: aiohttp.ClientSession | None = None
    retry_after: str | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def read(self) -> SecretStr:
        if isinstance(self.secret, Exception):
            raise self.secret
        return SecretStr(self.secret)

    def push(self) -> None:
        self.pushed += 1

    def count(self, provider: str, result: hook.Result) -> None:
        self.providers.append(provider)
        self.counted.append(result)
        self.answered.set()

    def hook(self) -> hook.Hook:
        return hook.Hook(self.read, ref="main", pushed=self.push, count=self.count, clock=lambda: self.now)

    async def post(
        self, headers: Mapping[str, str], body: bytes, *, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """The status and the JSON."""
        assert self.session is not None
        async with self.session.post(self.base, data=body, headers={"Content-Type": content_type, **headers}) as answer:
            self.retry_after = answer.headers.get("Retry-After")
            return answer.status, await answer.json()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    app = web.Application()
    app.add_routes([world.hook().route()])
    async with http.serve(app, "127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        world.base, world.port, world.session = f"http://127.0.0.1:{port}{hook.PATH}", port, session
        yield world


def as_json(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def github(body: bytes, *, event: str = "push", delivery: str | None = None, secret: str = SECRET) -> dict[str, str]:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": event}
    return headers if delivery is None else {**headers, "X-GitHub-Delivery": delivery}


def gitlab(*, event: str = "Push Hook", token: str = SECRET) -> dict[str, str]:
    return {"X-Gitlab-Token": token, "X-Gitlab-Event": event}


def azure(*, password: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"acaops:{password}".encode()).decode()}


async def test_a_github_push_is_passed_on_once(world: World) -> None:
    """Signed over the body's bytes, however they are laid out."""
    body = b'{\n  "ref" : "refs/heads/main" }\n'

    assert await world.post(github(body), body) == FETCHING
    assert (world.pushed, world.counted) == (1, ["accepted"])


async def test_a_github_form_is_read(world: World) -> None:
    """The form's bytes are signed, its payload is the JSON."""
    body = urlencode({"payload": json.dumps(PUSH)}).encode()

    assert await world.post(github(body), body, content_type="application/x-www-form-urlencoded") == FETCHING


@pytest.mark.parametrize("event", ["Push Hook", "Tag Push Hook"])
async def test_a_gitlab_push_is_passed_on(world: World, event: str) -> None:
    """Proven by the token in its header."""
    body = as_json({"ref": "refs/tags/main" if event.startswith("Tag") else "refs/heads/main"})

    assert await world.post(gitlab(event=event), body) == FETCHING


@pytest.mark.parametrize(
    "payload",
    [AZURE, {"eventType": "git.push"}, {"eventType": "git.push", "resource": {"url": "https://dev.azure.com"}}],
)
async def test_an_azure_devops_push_is_passed_on(world: World, payload: Any) -> None:
    """Proven by the password; one whose subscription leaves the refs out may be ours."""
    assert await world.post(azure(), as_json(payload)) == FETCHING


async def test_a_ping_is_answered(world: World) -> None:
    """GitHub sends one when the webhook is set up; nothing is fetched for it."""
    body = as_json({"zen": "Keep it logically awesome."})

    assert await world.post(github(body, event="ping"), body) == (200, {"status": "pong"})
    assert (world.pushed, world.counted) == (0, ["ping"])


@pytest.mark.parametrize(
    ("headers", "payload", "reason"),
    [
        ("github:push", {"ref": "refs/heads/dev"}, "the push is to refs/heads/dev, not main"),
        ("github:push", {"ref": "refs/heads/x/main"}, "the push is to refs/heads/x/main, not main"),
        ("github:issues", PUSH, "'issues' is no push"),
        ("gitlab:Merge Request Hook", PUSH, "'Merge Request Hook' is no push"),
        ("azure:", {"eventType": "build.complete"}, "'build.complete' is no push"),
        (
            "azure:",
            {"eventType": "git.push", "resource": {"refUpdates": [{"name": "refs/heads/a"}, {"name": "refs/tags/b"}]}},
            "the push is to refs/heads/a, refs/tags/b, not main",
        ),
    ],
)
async def test_what_does_not_concern_us_is_ignored(world: World, headers: str, payload: Any, reason: str) -> None:
    """Well received, with the reason, so that people who set it up see why nothing happens."""
    provider, _, event = headers.partition(":")
    body = as_json(payload)
    sent = {"github": github(body, event=event), "gitlab": gitlab(event=event), "azure": azure()}[provider]

    assert await world.post(sent, body) == (200, {"status": "ignored", "reason": reason})
    assert (world.pushed, world.counted) == (0, ["ignored"])


@pytest.mark.parametrize(
    ("followed", "pushed", "concerns"),
    [
        ("main", "refs/heads/main", True),
        ("v1", "refs/tags/v1", True),
        ("refs/heads/main", "refs/heads/main", True),
        ("refs/heads/main", "refs/tags/main", False),
        ("main", "refs/remotes/main", False),
        ("c" * 40, "refs/heads/anything", True),
    ],
)
def test_which_refs_concern_us(followed: str, pushed: str, concerns: bool) -> None:
    """A short name is a branch or a tag; a commit may come with any push."""
    assert pushes.concerns(followed, pushed) is concerns


FORGERIES = {
    "unsigned": {},
    "another secret": github(as_json(PUSH), secret="guess"),
    "another body": github(b"{}"),
    "no scheme": {"X-Hub-Signature-256": github(as_json(PUSH))["X-Hub-Signature-256"].removeprefix("sha256=")},
    "the old algorithm": {"X-Hub-Signature": "sha1=" + hmac.new(b"x", b"", hashlib.sha1).hexdigest()},
    "the secret as a signature": {"X-Hub-Signature-256": SECRET},
    "bytes that are no ASCII": {"X-Hub-Signature-256": "sha256=é"},
    "empty": {"X-Hub-Signature-256": ""},
    "gitlab": gitlab(token="guess"),
    "gitlab with part of it": gitlab(token=SECRET[:-1]),
    "azure": azure(password="guess"),
    "azure without a password": {"Authorization": "Basic " + base64.b64encode(b"correct horse").decode()},
    "azure, no base64": {"Authorization": "Basic *"},
    "another scheme": {"Authorization": f"Bearer {SECRET}"},
}


@pytest.mark.parametrize("headers", FORGERIES.values(), ids=FORGERIES.keys())
async def test_what_proves_nothing_is_refused_without_a_hint(world: World, headers: dict[str, str]) -> None:
    """The same answer whatever is wrong."""
    assert await world.post(headers, as_json(PUSH)) == FORGED
    assert (world.pushed, world.counted) == (0, ["forged"])


async def test_forgeries_are_logged_once_a_minute(world: World) -> None:
    """Anybody can send them; the log is not theirs to fill."""
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await world.post({}, b"")
        world.now = 61.0
        await world.post({}, b"")

    assert [line["log_level"] for line in lines] == ["warning", "warning"]


async def test_forgers_are_slowed_down_and_keep_nobody_out(world: World) -> None:
    """They use up what is theirs; a real push passes at that moment."""
    answers = [await world.post({}, b"") for _ in range(hook.FORGERIES[0] + 1)]
    assert answers[:-1] == [FORGED] * hook.FORGERIES[0]
    assert (answers[-1][0], world.retry_after) == (429, "6")

    body = as_json(PUSH)
    assert await world.post(github(body), body) == FETCHING
    world.now = 5.0
    assert await world.post({}, b"") == FORGED


async def test_real_pushes_have_a_pace_too(world: World) -> None:
    """Too many are put off, not lost: what was put off may come again."""
    bodies = [as_json({**PUSH, "after": str(number)}) for number in range(hook.PUSHES[0] + 1)]
    answers = [await world.post(github(body), body) for body in bodies]
    assert answers == [*[FETCHING] * hook.PUSHES[0], (429, {"error": "too many deliveries"})]
    assert world.retry_after == "3"

    world.now = 2.0
    assert await world.post(github(bodies[-1]), bodies[-1]) == FETCHING
    assert world.pushed == hook.PUSHES[0] + 1


async def test_a_repeated_delivery_is_refused(world: World) -> None:
    """The same body, whatever its id; at GitHub also the same id."""
    body, other = as_json(PUSH), as_json({**PUSH, "after": "b" * 40})
    assert await world.post(github(body, delivery="1"), body) == FETCHING

    again = (409, {"error": "this delivery was taken before"})
    assert await world.post(github(body, delivery="2"), body) == again
    assert await world.post(github(other, delivery="1"), other) == again
    assert await world.post(github(other, delivery="3"), other) == FETCHING
    assert (world.pushed, world.counted) == (2, ["accepted", "replayed", "replayed", "accepted"])


async def test_deliveries_are_counted_by_provider(world: World) -> None:
    """By what they show as a proof, which may be none."""
    body = as_json(PUSH)
    for headers in (github(body), gitlab(), azure(password="guess"), {}):
        await world.post(headers, body)

    assert world.providers == ["github", "gitlab", "azure", "unknown"]


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr(hook, "REMEMBERED", 2)
    bodies = [as_json({**PUSH, "after": str(number)}) for number in range(3)]
    for body in [*bodies, bodies[0]]:
        assert await world.post(github(body), body) == FETCHING
    assert (await world.post(github(bodies[2]), bodies[2]))[0] == 409


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("text/plain", as_json(PUSH), "the content type must be application/json"),
        ("application/json", b"{", "the body is no JSON"),
        ("application/json", b"\xff\xfe", "the body is no JSON"),
        ("application/json", b"[" * 100_000, "the body is no JSON"),
        ("application/json", b"[]", "the body is no JSON object"),
        ("application/json", b"{}", "the push names no ref"),
        ("application/json", b'{"ref": 1}', "the push names no ref"),
        ("application/x-www-form-urlencoded", b"load=1", "the body is no JSON"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 50), "the body is no JSON"),
    ],
)
async def test_an_authentic_body_that_says_nothing_is_named(
    world: World, content_type: str, body: bytes, error: str
) -> None:
    """Only who proved himself is told what is wrong."""
    assert await world.post(github(body), body, content_type=content_type) == (400, {"error": error})
    assert (world.pushed, world.counted) == (0, ["bad"])


async def test_azure_refs_that_are_none_are_named(world: World) -> None:
    """A push whose refs can't be read is no push."""
    wrong: list[Any] = [{}, [], ["x"], [{"name": 1}]]
    for updates in wrong:
        body = as_json({"eventType": "git.push", "resource": {"refUpdates": updates}})
        assert (await world.post(azure(), body))[0] == 400


async def test_a_lone_surrogate_is_answered(world: World) -> None:
    """JSON can hold what UTF-8 can't."""
    body = b'{"ref": "refs/heads/\\ud800"}'

    assert (await world.post(github(body), body))[0] == 200


@pytest.mark.parametrize("secret", [OSError("/etc/hook can't be read"), ""])
async def test_a_secret_that_can_not_be_read_is_our_fault(world: World, secret: str | Exception) -> None:
    """503 for everybody, logged once a minute; and nothing is proven by an empty one. Then it is read again."""
    world.secret = secret
    body = as_json(PUSH)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            assert (await world.post(github(body, secret=""), body))[0] == 503
        assert (await world.post(gitlab(token=""), body))[0] == 503
    assert [line["log_level"] for line in lines] == ["error"]

    world.secret = SECRET
    assert await world.post(github(body), body) == FETCHING


async def raw(world: World, head: str, *chunks: bytes) -> bytes:
    """The first line of what is answered to a request that isn't finished."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    try:
        writer.write(f"POST {hook.PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        for chunk in chunks:
            writer.write(chunk)
        await writer.drain()
        return await asyncio.wait_for(reader.readline(), 20)
    finally:
        writer.close()


@pytest.mark.parametrize("headers", ["X-Hub-Signature-256: sha256=0\r\n", "X-Gitlab-Token: correct horse\r\n"])
async def test_a_body_that_is_too_large_is_not_read(world: World, headers: str) -> None:
    """Refused by its length alone, before anything of it came."""
    assert b" 413 " in await raw(world, f"{headers}Content-Length: {hook.MOST_BYTES + 1}\r\n")
    assert world.counted == ["too-large"]


async def test_chunks_are_counted(world: World) -> None:
    """A body without a length ends where it becomes too large."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = "X-Hub-Signature-256: sha256=0\r\nTransfer-Encoding: chunked\r\n"

    assert b" 413 " in await raw(world, head, *[chunk] * 17)


async def test_the_largest_body_is_read(world: World) -> None:
    """The limit itself is allowed."""
    head, tail = b'{"ref": "refs/heads/main", "x": "', b'"}'
    body = head + b"x" * (hook.MOST_BYTES - len(head) - len(tail)) + tail

    assert await world.post(github(body), body) == FETCHING


async def test_a_slow_body_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not hold memory for as long as its sender likes."""
    monkeypatch.setattr(hook, "BODY_SECONDS", 0.05)

    assert b" 408 " in await raw(world, "X-Hub-Signature-256: sha256=0\r\nContent-Length: 10\r\n", b"{")
    assert world.counted == ["slow"]


async def test_a_forged_token_is_refused_before_its_body(world: World) -> None:
    """Nothing is read for who could be judged by a header."""
    assert b" 401 " in await raw(world, "X-Gitlab-Token: guess\r\nContent-Length: 10\r\n")


async def test_bodies_read_side_by_side_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders who prove nothing can't fill the memory."""
    monkeypatch.setattr(hook, "MOST_READING", 0)
    body = as_json(PUSH)

    assert (await world.post(github(body), body))[0] == 429
    assert world.retry_after == "2"


async def test_a_body_that_can_not_be_read_is_nothing(world: World) -> None:
    """Bytes that aren't what the header says end the request, not the server."""
    head = "X-Hub-Signature-256: sha256=0\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n"

    assert b" 400 " in await raw(world, head, b"gzip")
    body = as_json(PUSH)
    assert await world.post(github(body), body) == FETCHING
    assert world.counted == ["bad", "accepted"]


async def test_a_sender_who_leaves_is_counted_once(world: World) -> None:
    """Nothing is kept for him."""
    _, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(f"POST {hook.PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: 0\r\n".encode())
    writer.write(b"Content-Length: 10\r\n\r\n{")
    await writer.drain()
    writer.close()

    async with asyncio.timeout(10):
        await world.answered.wait()
    assert world.counted == ["bad"]
