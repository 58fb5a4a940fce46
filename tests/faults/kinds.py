"""The ways in which one request can fail, each with the calls it makes sense for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from azure.core import exceptions

from infra.local_azure import faults
from tests.faults.seam import Answer, Moment, Seen, Shot

PAUSE = 17
"""Seconds that a throttle asks for."""

Applies = Callable[[Seen], bool]


@dataclass(frozen=True)
class Kind:
    """`named` is its column; `applies` whether it can befall a call that was seen."""

    named: str
    applies: Applies
    shot: Shot


def _every(seen: Seen) -> bool:
    return True


def _writes(seen: Seen) -> bool:
    return seen.writes


def _arm(seen: Seen) -> bool:
    return not seen.files


def _begins(seen: Seen) -> bool:
    return seen.begins


async def _refused(moment: Moment) -> Any:
    error = ConnectionRefusedError(111, "Connect call failed")
    raise exceptions.ServiceRequestError(error, error=error)


async def _reset_after(moment: Moment) -> Any:
    await moment.send()
    error = ConnectionResetError(104, "Connection reset by peer")
    raise exceptions.ServiceResponseError(error, error=error)


async def _timeout_before(moment: Moment) -> Any:
    error = TimeoutError("Connection timeout")
    raise exceptions.ServiceRequestTimeoutError(error, error=error)


async def _timeout_after(moment: Moment) -> Any:
    await moment.send()
    error = TimeoutError("Timeout on reading data from socket")
    raise exceptions.ServiceResponseTimeoutError(error, error=error)


def _answers(status: int, arm: str, files: str = "", *, effect: bool = False) -> Shot:
    async def shot(moment: Moment) -> Any:
        if effect:
            await moment.send()
        return await moment.respond(_error(moment, status, files if moment.files else arm, {}))

    return shot


def _error(moment: Moment, status: int, code: str, headers: dict[str, str]) -> Answer:
    """As the service writes it; a HEAD gets no body."""
    told = dict(headers)
    message = "By order of the campaign."
    if moment.files:
        told |= {"x-ms-error-code": code, "Content-Type": "application/xml"}
        text = f"\ufeff<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    else:
        told |= {"Content-Type": "application/json; charset=utf-8"}
        text = json.dumps({"error": {"code": code, "message": message}})
    return Answer(status, told, b"" if moment.request.method == "HEAD" else text.encode())


async def _told(moment: Moment) -> Any:
    """A throttle that names its pause."""
    moment.seam.put_off(moment.call, PAUSE)
    return await moment.respond(_error(moment, 429, "429", {"Retry-After": str(PAUSE)}))


async def _busy(moment: Moment) -> Any:
    """The code is the one of the resource's own provider."""
    path = moment.path.lower()
    if "/containerapps/" in path:
        code = "ContainerAppOperationInProgress"
    elif "/managedenvironments/" in path:
        code = "ManagedEnvironmentOperationInProgress"
    elif "/storageaccounts/" in path:
        code = "StorageAccountOperationInProgress"
    else:
        code = "Conflict"
    return await moment.respond(_error(moment, 409, "SharingViolation" if moment.files else code, {}))


async def _stale(moment: Moment) -> Any:
    """The question is answered with what was true when it was asked before."""
    assert moment.last is not None, "only questions that were asked before get an old answer"
    return await moment.respond(moment.last)


async def _malformed(moment: Moment) -> Any:
    response = await moment.send()
    body = bytes(await response.read() if moment.streamed else response.body())
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    return await moment.respond(Answer(response.status_code, headers, body[: len(body) // 2]))


async def _expired(moment: Moment) -> Any:
    headers = {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="The token is expired."'}
    return await moment.respond(_error(moment, 401, "ExpiredAuthenticationToken", headers))


def _operation(does: Literal["failed", "canceled", "stuck"]) -> Shot:
    async def shot(moment: Moment) -> Any:
        """The request is accepted; the operation it begins comes to nothing."""
        rule = faults.Rule(f"{moment.path}$", moment.request.method, does=does, times=1)  # type: ignore[arg-type]
        moment.seam.rules.insert(0, rule)
        return await moment.send()

    return shot


async def _crash_before(moment: Moment) -> Any:
    raise moment.seam.die()


async def _crash_after(moment: Moment) -> Any:
    await moment.send()
    raise moment.seam.die()


async def _cancelled(moment: Moment) -> Any:
    """The pass is cancelled while the request is on its way."""
    running = moment.seam.running
    assert running is not None, "there is a pass whose request this is"
    asyncio.get_running_loop().call_soon(running.cancel)
    return await moment.send()


def _retold(seen: Seen) -> bool:
    """An old answer that says something else. That a container was restarted is told by its replicas alone: nobody sees
    through an old answer of theirs."""
    told = seen.call.path.endswith("/replicas")
    return seen.call.method == "GET" and seen.before and not seen.same and not told


KINDS: tuple[Kind, ...] = (
    Kind("refused", _every, _refused),
    Kind("reset-after", _writes, _reset_after),
    Kind("timeout-before", _writes, _timeout_before),
    Kind("timeout-after", _every, _timeout_after),
    Kind("500-before", _every, _answers(500, "InternalServerError", "InternalError")),
    Kind("500-after", _writes, _answers(500, "InternalServerError", "InternalError", effect=True)),
    Kind("503", _every, _answers(503, "ServiceUnavailable", "ServerBusy")),
    Kind("429", _arm, _answers(429, "429")),
    Kind("429-told", _arm, _told),
    Kind("409-busy", _writes, _busy),
    Kind("404-new", lambda seen: seen.created, _answers(404, "ResourceNotFound")),
    Kind("stale", _retold, _stale),
    Kind("malformed", lambda seen: seen.body, _malformed),
    Kind("401", _arm, _expired),
    Kind("op-failed", _begins, _operation("failed")),
    Kind("op-canceled", _begins, _operation("canceled")),
    Kind("op-stuck", _begins, _operation("stuck")),
    Kind("crash-before", _every, _crash_before),
    Kind("crash-after", _writes, _crash_after),
    Kind("cancelled", _every, _cancelled),
)
"""A fault after a read is the same as one before it, so reads get one of the two."""

BY_NAME = {kind.named: kind for kind in KINDS}

HIDING = frozenset({"404-new", "stale"})
"""Answers that are taken for true and aren't."""

ALIKE = frozenset({"refused", "timeout-after", "503", "429", "malformed", "401"})
"""For a read the same as 500-before, but for how it is found out."""

ENDING = frozenset({"op-failed", "op-canceled", "op-stuck"})
"""What was being made is taken back by Azure."""
