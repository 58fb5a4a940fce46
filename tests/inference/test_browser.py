"""The chat page as a browser sees it: headless Chromium, driven over the DevTools protocol, on a scripted engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import sys
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# The protocol is spoken on descriptors 3 and 4.
ON_3_AND_4 = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
BOX = "#message textarea"
BUSY = "!!document.querySelector('[data-testid=stop-button]')"
TURNS = "[...document.querySelectorAll('[data-testid=user], [data-testid=bot]')].map(turn => turn.innerText.trim())"
IDLE = f"!({BUSY})"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Tab:
    """One page in a browser. What it asked the network for and complained about is in `requests` and `complaints`."""

    def __init__(self, reader: asyncio.StreamReader, writer: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                self._heard(json.loads((await self._reader.readuntil(b"\0"))[:-1]))

    def _heard(self, message: dict[str, Any]) -> None:
        match message:
            case {"id": number}:
                self._waiting.pop(number).set_result(message)
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}:
                self.requests.append(url)
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(json.dumps(details))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self.complaints.append(f"{entry['text']} {entry.get('url')}")
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error" | "assert", "args": args}}:
                self.complaints.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in args))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        self._writer.write(json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0")
        answer = await asyncio.wait_for(self._waiting[number], 20)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def attach(self) -> None:
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.send(f"{domain}.enable")

    async def look(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def see(self, script: str) -> None:
        """Wait until the expression is true."""
        try:
            async with asyncio.timeout(15):
                while not await self.look(script):  # noqa: ASYNC110 (a fact in another process)
                    await asyncio.sleep(0.03)
        except TimeoutError:
            text = await self.look("document.body.innerText")
            raise AssertionError(f"never true: {script}; the page says {text!r}; {self.complaints}") from None

    async def click(self, selector: str) -> None:
        await self.see(f"!!document.querySelector({selector!r})")
        await self.look(f"document.querySelector({selector!r}).click()")

    async def enter(self, text: str) -> None:
        """Type into the message box, and press Enter."""
        await self.look(f"document.querySelector({BOX!r}).focus()")
        await self.send("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )

    async def open(self, url: str, *, width: int = 1200, dark: bool = False) -> None:
        """The page, ready to be used."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send("Page.navigate", url=url)
        await self.see(f"!!document.querySelector({BOX!r})")

    async def says(self, *texts: str) -> None:
        """Wait until these are the turns of the conversation, and no others."""
        await self.see(f"JSON.stringify({TURNS}) == {json.dumps(json.dumps(texts, separators=(',', ':')))}")

    async def picture(self) -> bytes:
        shot = await self.send("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])


def _pipe() -> tuple[int, int]:
    """Both ends above 9, out of the way of the descriptors that the browser wants them on."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Tab]:
    """A browser of its own, gone afterwards with all its processes."""
    hear, child_out = _pipe()
    child_in, say = _pipe()
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ON_3_AND_4,
        str(child_in),
        str(child_out),
        *command,
        pass_fds=(child_in, child_out),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(child_in)
    os.close(child_out)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    heard, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(hear, "rb"))
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(say, "wb"))
    tab = Tab(reader, writer)
    listening = asyncio.create_task(tab.listen())
    try:
        await tab.attach()
        yield tab
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await listening
        heard.close()
        writer.close()


class Prefixed:
    """A proxy that publishes `app` under a path, and strips that path before it asks the app."""

    def __init__(self, app: Any, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope["type"]
        if scope["path"].startswith(f"{self._prefix}/"):
            path = scope["path"].removeprefix(self._prefix)
            await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_conversation(scripted: Any, serve: Any, until: Any, tmp_path: Path) -> None:
    """Ask, see it grow, stop; ask on, with the first turns remembered; retry, undo; all of it from this server."""
    engine = scripted("Aye, one two three.")
    async with serve(engine, UI_ENABLED="1") as app, browsing(tmp_path / "profile") as tab:
        await tab.open(app.url)
        engine.hold.clear()
        await tab.enter("First?")
        await tab.says("First?", "Aye,")
        await tab.see(BUSY)
        engine.hold.set()
        await tab.says("First?", "Aye, one two three.")
        await tab.see(IDLE)

        engine.hold.clear()
        await tab.enter("Second?")
        await tab.says("First?", "Aye, one two three.", "Second?", "Aye,")
        await tab.enter("draft")
        assert [turn["content"] for turn in engine.prompts[-1]] == ["First?", "Aye, one two three.", "Second?"]
        await tab.click("[data-testid=stop-button]")
        await until(lambda: engine.open == 0)
        await tab.see(IDLE)
        await tab.says("First?", "Aye, one two three.", "Second?", "Aye,")

        engine.hold.set()
        await tab.click("[aria-label=Retry]")
        await tab.says("First?", "Aye, one two three.", "Second?", "Aye, one two three.")
        await tab.see(IDLE)
        await tab.click("[aria-label=Undo]")
        await tab.says("First?", "Aye, one two three.")
        await tab.see(f"document.querySelector({BOX!r}).value == 'Second?\\ndraft'")
        (tmp_path / "conversation.png").write_bytes(await tab.picture())

        assert [url for url in tab.requests if not url.startswith((app.url, "data:", "blob:"))] == []
        assert tab.complaints == []


async def test_nothing_typed_is_lost(scripted: Any, serve: Any, until: Any, tmp_path: Path) -> None:
    """A refused question, and one stopped before a word, are in the box again, before what was typed meanwhile."""
    engine = scripted("one two")
    async with serve(engine, UI_ENABLED="1", MAX_INFLIGHT="1", MAX_QUEUE="1") as app:
        prompt = app.answers.prompt([{"role": "user", "content": "x"}], max_tokens=1, temperature=0.0, top_p=1.0)
        first = await app.answers.open(prompt, request_id="first")
        async with browsing(tmp_path / "profile") as tab:
            await tab.open(app.url, width=390, dark=True)
            await tab.enter("Stopped.")
            await tab.says("Stopped.")
            await tab.see(BUSY)
            await tab.send("Input.insertText", text="draft")
            await tab.click("[data-testid=stop-button]")
            await tab.see(f"document.querySelector({BOX!r}).value == 'Stopped.\\ndraft'")
            await tab.says()
            await tab.see(IDLE)

            waiting = asyncio.create_task(app.answers.open(prompt, request_id="waiting"))
            await until(lambda: app.metrics.queued._value.get() == 1)
            await tab.enter("")
            await tab.see("document.querySelector('[role=alert]')?.innerText.includes('Too many')")
            await tab.see(f"document.querySelector({BOX!r}).value.trim() == 'Stopped.\\ndraft'")
            assert await tab.look("document.documentElement.scrollWidth <= innerWidth")
            (tmp_path / "refused.png").write_bytes(await tab.picture())
            first.close()
            (await waiting).close()
            await tab.enter("")
            await tab.says("Stopped.\ndraft", "one two")


async def test_under_a_path(scripted: Any, serve: Any, listen: Any, tmp_path: Path) -> None:
    """Behind a proxy that publishes the app under /tiny, an example is answered there."""
    env = {"UI_ENABLED": "1", "ROOT_PATH": "/tiny", "EXAMPLE_PROMPTS": "Hello?\nBye?"}
    async with (
        serve(scripted("one two"), **env) as app,
        listen(Prefixed(app.server.config.app, "/tiny")) as (url, _),
        browsing(tmp_path / "profile") as tab,
    ):
        await tab.open(f"{url}/tiny/")
        await tab.click("button.example")
        await tab.says("Hello?", "one two")
        # gradio's page asks for these two at the root whatever the path; it does without.
        lost = {urllib.parse.urlsplit(text.split()[-1]).path for text in tab.complaints if "404 (Not Found)" in text}
        assert lost <= {"/manifest.json", "/favicon.ico"}
