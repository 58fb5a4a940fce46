"""The API at the level of HTTP: what OpenAI's client can't show, and what others send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from inference import openai_api

HELLO: Any = [{"role": "user", "content": "hello there"}]
CHAT = "/v1/chat/completions"


def queued(app: Any) -> float:
    return float(app.metrics.registry.get_sample_value("inference_requests_queued") or 0)


async def test_the_bytes_of_a_stream(scripted: Any, serve: Any) -> None:
    """Server-sent events as OpenAI sends them, letter by letter."""
    async with serve(scripted("eins zwei")) as app, httpx.AsyncClient(base_url=app.url) as http:
        body = {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
        answer = await http.post(CHAT, json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    head = '"object":"chat.completion.chunk","created":0,"model":"tiny"'
    choices = (
        '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}',
        '{"index":0,"delta":{"content":"eins"},"logprobs":null,"finish_reason":null}',
        '{"index":0,"delta":{"content":" zwei"},"logprobs":null,"finish_reason":null}',
        '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}',
    )
    expected = [f'data: {{"id":"ID",{head},"choices":[{choice}],"usage":null}}' for choice in choices]
    usage = '{"prompt_tokens":2,"completion_tokens":2,"total_tokens":4}'
    expected += [f'data: {{"id":"ID",{head},"choices":[],"usage":{usage}}}', "data: [DONE]"]
    text = re.sub(r'"created":\d+', '"created":0', re.sub(r"chatcmpl-[0-9a-f]{32}", "ID", answer.text))
    assert text == "".join(f"{event}\n\n" for event in expected)


async def test_the_bytes_of_a_text_stream(scripted: Any, serve: Any) -> None:
    """The same for text completions, which have no first event."""
    async with serve(scripted("eins")) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.post("/v1/completions", json={"prompt": "hi", "stream": True})
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n")[:-2]]
    assert [event["choices"] for event in events] == [
        [{"index": 0, "text": "eins", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}],
    ]
    assert {event["object"] for event in events} == {"text_completion"}
    assert answer.text.endswith("\n\ndata: [DONE]\n\n")


@pytest.fixture
def beating(serve: Any, listen: Any, settings_of: Any) -> Any:
    """`async with beating(engine, MAX_INFLIGHT="1") as (app, http)`: an API whose heart beats every 20 ms."""

    @contextlib.asynccontextmanager
    async def opened(scripted: Any, **env: str) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
        async with serve(scripted, **env) as app:
            api = openai_api.Api(app.answers, limits=settings_of(), heartbeat=0.02)
            async with listen(Starlette(routes=api.routes())) as (url, _), httpx.AsyncClient(base_url=url) as http:
                yield app, http

    return opened


async def test_heartbeats_while_the_prompt_is_read(scripted: Any, beating: Any) -> None:
    """A comment after each heartbeat without a token; clients skip it."""
    held = scripted()
    held.hold.clear()
    asked = {"messages": HELLO, "stream": True}
    async with beating(held) as (_, http), http.stream("POST", CHAT, json=asked) as answer:
        lines = answer.aiter_lines()
        silence = [line async for line in _until_two_pings(lines) if line]
        held.hold.set()
        rest = [line async for line in lines if line]
    assert [line.partition(": ")[0] for line in silence] == ["data", "data", "", ""]
    assert rest[-1] == "data: [DONE]"


async def _until_two_pings(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    pings = 0
    async for line in lines:
        yield line
        pings += line == ": ping"
        if pings == 2:
            return


async def test_heartbeats_in_the_queue(scripted: Any, beating: Any, until: Any) -> None:
    """Who waits longer than a heartbeat for a place gets a stream of comments, then the answer."""
    held = scripted()
    held.hold.clear()
    async with beating(held, MAX_INFLIGHT="1") as (_, http):
        first = asyncio.create_task(http.post(CHAT, json={"messages": HELLO}))
        await until(lambda: held.open == 1)
        async with http.stream("POST", CHAT, json={"messages": HELLO, "stream": True}) as answer:
            lines = answer.aiter_lines()
            waiting = [line async for line in _until_two_pings(lines) if line]
            held.hold.set()
            told = [line async for line in lines]
        assert set(waiting) == {": ping"}
        assert '"content":" three"' in "".join(told)
        assert (await first).status_code == 200


@pytest.mark.parametrize("ending", ["refused", "left"])
async def test_the_end_of_waiting(scripted: Any, beating: Any, until: Any, ending: str) -> None:
    """A refusal after the first heartbeat is an error event; a client that leaves then leaves the queue."""
    held = scripted()
    held.hold.clear()
    async with beating(held, MAX_INFLIGHT="1") as (app, http):
        first = asyncio.create_task(http.post(CHAT, json={"messages": HELLO}))
        await until(lambda: held.open == 1)
        async with http.stream("POST", CHAT, json={"messages": HELLO, "stream": True}) as answer:
            lines = answer.aiter_lines()
            _ = [line async for line in _until_two_pings(lines)]
            if ending == "refused":
                app.answers.close()
                last = [line async for line in lines if line.startswith("data")]
                assert [json.loads(line[6:])["error"]["code"] for line in last] == ["shutting_down"]
        await until(lambda: queued(app) == 0)
        held.hold.set()
        assert (await first).status_code == 200
        assert len(held.calls) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_cancels(
    scripted: Any, serve: Any, until: Any, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    """A client that hangs up, streaming or not, frees its place and stops the engine, and is no error."""
    held = scripted()
    held.hold.clear()
    async with serve(held) as app, httpx.AsyncClient(base_url=app.url) as http:
        asking = asyncio.create_task(http.post(CHAT, json={"messages": HELLO, "stream": stream}))
        await until(lambda: held.open == 1)
        asking.cancel()
        await asyncio.wait({asking})
        await until(lambda: (held.open, held.cancelled, app.answers.in_flight) == (0, 1, 0))
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_the_queue(
    scripted: Any, serve: Any, until: Any, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    """A client that hangs up while waiting leaves the queue, never reaches the engine, and is no error."""
    held = scripted()
    held.hold.clear()
    async with serve(held, MAX_INFLIGHT="1") as app, httpx.AsyncClient(base_url=app.url) as http:
        first = asyncio.create_task(http.post(CHAT, json={"messages": HELLO}))
        await until(lambda: held.open == 1)
        second = asyncio.create_task(http.post(CHAT, json={"messages": HELLO, "stream": stream}))
        await until(lambda: queued(app) == 1)
        second.cancel()
        await until(lambda: queued(app) == 0)
        held.hold.set()
        assert (await first).status_code == 200
        assert len(held.calls) == 1
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("POST", "/v1/embeddings", 404, "unknown_url", None),
        ("GET", "/v1", 404, "unknown_url", None),
        ("GET", "/v1/", 404, "unknown_url", None),
        ("POST", "/chat/completions", 404, "unknown_url", None),
        ("POST", "/admin/adapter", 404, "unknown_url", None),
        ("GET", CHAT, 405, "method_not_allowed", "POST"),
        ("OPTIONS", CHAT, 405, "method_not_allowed", "POST"),
        ("BREW", CHAT, 405, "method_not_allowed", "POST"),
        ("DELETE", "/v1/models/tiny", 405, "method_not_allowed", "GET, HEAD"),
        ("GET", "/v1/models/a/b", 404, "model_not_found", None),
    ],
)
async def test_wrong_addresses(
    scripted: Any, serve: Any, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    """In the envelope too, with the methods that are allowed; and no other site's page may read any of it."""
    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.request(method, path, headers={"origin": "https://elsewhere.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("allow") == allow
    assert answer.headers["x-request-id"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_head(scripted: Any, serve: Any) -> None:
    """As GET, without the body."""
    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.head("/v1/models")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("content", "kind", "status", "says"),
    [
        (b"{", "application/json", 400, "not valid JSON"),
        (b"[" * 50_000, "application/json; charset=utf-8", 400, "nested too deeply"),
        (b'{"messages": [], "temperature": NaN}', "application/json", 400, "NaN"),
        (b"{}", "text/plain", 415, "not text/plain"),
        (b"{}", None, 415, "not undeclared"),
        (b" " * 70_000, "application/json", 413, "larger than 68736 bytes"),
    ],
)
async def test_bad_bodies(scripted: Any, serve: Any, content: bytes, kind: str | None, status: int, says: str) -> None:
    """Refused in the envelope, and the same connection still answers."""
    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.post(CHAT, content=content, headers={"content-type": kind} if kind else {})
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error")
        assert says in answer.json()["error"]["message"]
        assert (await http.get("/v1/models")).status_code == 200


async def test_an_endless_body(scripted: Any, serve: Any) -> None:
    """One without a length is refused once it is too large."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.post(CHAT, content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


async def test_request_ids(scripted: Any, serve: Any) -> None:
    """A caller's id comes back, on streams and errors too; one that isn't harmless is replaced."""
    async with serve(scripted()) as app, httpx.AsyncClient(base_url=app.url) as http:
        for body in ({"messages": HELLO, "stream": True}, {"messages": HELLO}, {}):
            answer = await http.post(CHAT, json=body, headers={"x-request-id": "abc/1.2"})
            assert answer.headers["x-request-id"] == "abc/1.2"
        for given in ("a b", "x" * 129, "ä", '"; drop', ""):
            answer = await http.get("/v1/models", headers=[(b"x-request-id", given.encode())])
            assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_a_header_is_never_split(scripted: Any, serve: Any) -> None:
    """Line breaks in x-request-id end up in no header of the answer, whatever is sent."""
    async with serve(scripted()) as app:
        host, port = app.url.removeprefix("http://").split(":")
        for breaking in (b"a\r\n evil: 1", b"a\nevil: 1", b"a\revil: 1", b"a\x00evil: 1"):
            answer = await asyncio.to_thread(_raw, host, int(port), breaking)
            assert b"evil: 1" not in answer.split(b"\r\n\r\n")[0]
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))


def _raw(host: str, port: int, request_id: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=5) as connection:
        head = b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        connection.sendall(head + b"x-request-id: " + request_id + b"\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


async def test_keys_come_first(scripted: Any, serve: Any) -> None:
    """Without one, nothing is read and nothing told, not even what exists."""
    async with serve(scripted(), API_KEYS="zweiß") as app, httpx.AsyncClient(base_url=app.url) as http:
        for method, path in (("POST", CHAT), ("GET", CHAT), ("GET", "/v1/nothing"), ("GET", "/v1/models")):
            for given in ("", "Bearer", "Bearer other", "Basic zweiß"):
                headers = [(b"authorization", given.encode())]
                answer = await http.request(method, path, headers=headers, content=b"{")
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        known = await http.get("/v1/models", headers=[(b"authorization", "Bearer zweiß".encode())])
        assert known.status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unexpected_error(scripted: Any, serve: Any, caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    """In the envelope, or as the last event; logged once with its traceback; the same connection still answers."""
    broken = scripted()
    broken.failure = ZeroDivisionError("secret")
    async with serve(broken) as app, httpx.AsyncClient(base_url=app.url) as http:
        answer = await http.post(CHAT, json={"messages": HELLO, "stream": stream})
        text = answer.text.split("data: ")[-1]
        assert answer.status_code == (200 if stream else 500)
        assert json.loads(text)["error"] == {
            "message": "internal error: ZeroDivisionError",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
        assert (await http.get("/v1/models")).status_code == 200
        assert app.answers.in_flight == 0
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["unexpected"]


async def test_logs_hold_no_text(scripted: Any, serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line per answer, with counts and times, without prompt or answer."""
    caplog.set_level("INFO")
    async with serve(scripted("secretanswer")) as app, httpx.AsyncClient(base_url=app.url) as http:
        await http.post(CHAT, json={"messages": [{"role": "user", "content": "secretquestion"}]})
        await http.post("/v1/completions", json={"prompt": "secretquestion"})
    lines = [record for record in caplog.records if record.getMessage() == "answer"]
    assert [line.__dict__["values"]["completion_tokens"] for line in lines] == [1, 1]
    assert not any("secret" in f"{record.getMessage()}{record.__dict__.get('values')}" for record in caplog.records)
