"""What a container prints, from the log stream that its replica names: the last lines, or each as it comes.

A stream takes a token of its own, which ARM gives out for one app (recorded: containerapp-getauthtoken). It is shown to
Azure's stream hosts and to ARM's own, whatever address an answer names. Nothing here knows what the lines are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from controller.cloud import answers, policies, session
from controller.model import observed, outcome
from controller.model.conditions import Reason

MOST = 300
"""Lines that may be asked for (documented: az containerapp logs show, --tail)."""

LONGEST = 8 * 1024
"""Characters of a line that are kept."""

HOSTS = ".azurecontainerapps.dev"
"""What Azure's stream hosts end in (recorded: replicas-list, `<region>.azurecontainerapps.dev`)."""

TAIL = 20.0
"""Seconds in which the last lines must come; what came until then is what there is."""

QUIET = 300.0
"""Seconds without a line after which a followed stream is opened anew: nobody can tell it from a dead one."""

PAUSE = 1.0
"""Seconds until a stream that ended is opened anew, and twice as long after each failure."""

FAILURES = 5
"""Failures in a row after which following ends."""

_AHEAD = timedelta(minutes=1)
"""How long before its end a token isn't used any more."""

_LONGEST_RAW = 1024 * 1024
"""Bytes of a line, as it comes, that are held."""

_HEADING = re.compile(r"Connecting to the container '|Successfully Connected to container: '")
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?) {1,2}(.*)")

Post = Callable[[str], Awaitable[Mapping[str, Any]]]
Read = Callable[[str], Awaitable[observed.Resource | None]]


@dataclass(frozen=True)
class Stream:
    """One container's, and whose token it takes."""

    app: observed.Resource
    replica: observed.Resource
    container: str

    @property
    def address(self) -> str:
        """What its replica says (recorded: replicas-list, logStreamEndpoint). Raises OutcomeError."""
        facts = self.replica.properties
        containers = [*(facts.get("containers") or ()), *(facts.get("initContainers") or ())]
        found = next((one for one in containers if one.get("name") == self.container), None)
        if found is None:
            names = ", ".join(str(one.get("name")) for one in containers) or "none"
            raise _stalled(
                Reason.NOT_FOUND,
                f"replica {self.replica.name} has no container {self.container}; there are {names}",
            )
        return str(found.get("logStreamEndpoint") or "")

    def checked(self, arm: str) -> str:
        """The address, once it is known that the app's token may go there. Raises OutcomeError."""
        address, path = urlsplit(self.address), self.app.id.lower().replace("/providers/microsoft.app", "")
        host = address.netloc.lower()
        known = host == urlsplit(arm).netloc.lower() or host.removesuffix(":443").endswith(HOSTS)
        if address.scheme == "https" and known and "@" not in host and address.path.lower().startswith(f"{path}/"):
            return address.geturl()
        raise _stalled(Reason.INVALID_REQUEST, f"refused to send a token of {self.app.name} to {self.address!r}")


@dataclass(frozen=True)
class Line:
    """`at` is when the platform read it, None where it doesn't say."""

    at: datetime | None
    text: str


@dataclass(frozen=True)
class _Token:
    value: SecretStr
    expires: datetime


class Logs:
    """The log streams of one cloud. `post` asks ARM for an action by its address, `read` for a resource."""

    def __init__(self, cloud: session.Session, *, post: Post, read: Read) -> None:
        self._cloud = cloud
        self._post = post
        self._read = read
        self._tokens: dict[str, _Token] = {}

    async def tail(self, stream: Stream, *, tail: int) -> tuple[str, ...]:
        """The last lines, oldest first, `MOST` at most. Raises OutcomeError."""
        kept: deque[str] = deque(maxlen=min(tail, MOST))
        async with self._opened(stream, tail=tail, follow=False) as lines:
            # That a stream ends which isn't to be followed was never recorded.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TAIL):
                    async for line in lines:
                        kept.append(line.text)
        return tuple(kept)

    async def follow(self, stream: Stream, *, tail: int) -> AsyncGenerator[str, None]:
        """The last lines, and then each new one for as long as the replica is there. Raises OutcomeError."""
        seen, failures, opened = _Seen(), 0, False
        while True:
            problem: outcome.OutcomeError | None = None
            try:
                async with self._opened(stream, tail=MOST if seen.latest else tail, follow=True) as lines:
                    failures, opened = 0, True
                    async for line in lines:
                        if seen.first(line):
                            yield line.text
            except outcome.OutcomeError as error:
                problem, failures = error, failures + 1
                if not opened:
                    raise
            if await self._read(stream.replica.id) is None:
                return
            if problem and (failures > FAILURES or not isinstance(problem.outcome, outcome.Transient)):
                raise problem
            seen.again()
            await asyncio.sleep(PAUSE * 2**failures)

    @contextlib.asynccontextmanager
    async def _opened(self, stream: Stream, *, tail: int, follow: bool) -> AsyncIterator[AsyncIterator[Line]]:
        url = stream.checked((await self._cloud.endpoints()).arm)
        query = {"follow": str(follow).lower(), "output": "json", "tailLines": str(min(tail, MOST))}
        answer = await self._answer(stream, url, query, quiet=QUIET if follow else TAIL)
        try:
            async with contextlib.aclosing(_lines(answer)) as lines:
                yield lines
        finally:
            answer.close()

    async def _answer(
        self, stream: Stream, url: str, query: Mapping[str, str], *, quiet: float
    ) -> aiohttp.ClientResponse:
        """A kept token that is refused is asked for anew, once: its time may go otherwise than ours."""
        key = stream.app.id.lower()
        kept = key in self._tokens
        token = await self._token(stream.app)
        answer = await self._sent(url, query, token, quiet=quiet)
        if answer.status == 401 and kept:
            answer.close()
            self._tokens.pop(key, None)
            token = await self._token(stream.app)
            answer = await self._sent(url, query, token, quiet=quiet)
        if answer.status == 200:
            return answer
        if answer.status == 401:
            self._tokens.pop(key, None)
        raise await _refusal(answer, stream, token)

    async def _token(self, app: observed.Resource) -> SecretStr:
        key = app.id.lower()
        token = self._tokens.get(key)
        if token is None or datetime.now(UTC) >= token.expires - _AHEAD:
            facts = (await self._post(f"{app.id}/getAuthToken")).get("properties") or {}
            expires = observed.moment(facts.get("expires")) or datetime.now(UTC)
            token = self._tokens[key] = _Token(SecretStr(str(facts.get("token") or "")), expires)
        return token.value

    async def _sent(
        self, url: str, query: Mapping[str, str], token: SecretStr, *, quiet: float
    ) -> aiohttp.ClientResponse:
        """No redirect is followed: it would lead the token away."""
        request = self._cloud.plain().get(
            url,
            params=query,
            headers={
                "Authorization": f"Bearer {token.get_secret_value()}",
                "Accept-Encoding": "identity",
                "User-Agent": policies.user_agent(),
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=session.CONNECT_TIMEOUT, sock_read=quiet),
            allow_redirects=False,
        )
        return await answers.judged(request, host=urlsplit(url).netloc)


class _Seen:
    """Which lines were there before. A stream that is opened anew begins with lines that are known."""

    def __init__(self) -> None:
        self.latest: datetime | None = None
        self._count = 0
        """Lines at that moment."""

        self._known: int | None = None
        """How many of those the stream is still to repeat; None once it is past them."""

    def again(self) -> None:
        """A new stream begins."""
        self._known = self._count

    def first(self, line: Line) -> bool:
        """Whether it is told for the first time; a moment may have several lines."""
        if line.at is None:
            return True
        if self.latest is None or line.at > self.latest:
            self.latest, self._count, self._known = line.at, 1, None
            return True
        if self._known is None:
            self._count += line.at == self.latest
            return True
        if line.at < self.latest:
            return False
        if self._known:
            self._known -= 1
            return False
        self._count += 1
        return True


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[Line, None]:
    """Without the two that speak of the connection. Raises OutcomeError where the stream breaks off."""
    count = 0
    try:
        async for raw in _split(answer.content):
            line, count = _line(raw), count + 1
            if count > 2 or not _HEADING.match(line.text):
                yield line
    except (aiohttp.ClientError, OSError) as error:
        raise outcome.OutcomeError(answers.unanswered(error, answer.url.authority)) from None


async def _split(content: aiohttp.StreamReader) -> AsyncIterator[str]:
    rest = b""
    async for piece in content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line[:_LONGEST_RAW].decode(errors="replace")
        rest = rest[:_LONGEST_RAW]
    if rest:
        yield rest.decode(errors="replace")


def _line(raw: str) -> Line:
    """An object with TimeStamp and Log, or a time and the text after it."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and isinstance(body.get("Log"), str):
        return Line(observed.moment(body.get("TimeStamp")), _cut(body["Log"]))
    stamped = _STAMPED.fullmatch(raw.rstrip("\r"))
    return Line(observed.moment(stamped[1]), _cut(stamped[2])) if stamped else Line(None, _cut(raw))


def _cut(text: str) -> str:
    text = text.rstrip("\r\n")
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


async def _refusal(answer: aiohttp.ClientResponse, stream: Stream, token: SecretStr) -> outcome.OutcomeError:
    """What an answer other than 200 comes to."""
    try:
        text = (await answer.content.read(LONGEST)).decode(errors="replace")
    except (aiohttp.ClientError, OSError):
        text = ""
    finally:
        answer.close()
    if answer.status == 404:
        return _stalled(Reason.NOT_FOUND, f"replica {stream.replica.name} has no log of {stream.container} any more")
    return answers.refused(answer.status, dict(answer.headers), text, secrets=[token.get_secret_value()])


def _stalled(reason: str, message: str) -> outcome.OutcomeError:
    return outcome.OutcomeError(outcome.Stalled(reason, message))
