"""Answers of Azure that aren't the wanted ones, and calls that got none: read, judged by `errors`, raised.

`judged` is the seam through which every call to Azure goes; what it raises carries neither the request nor its body.
Nothing here retries or waits.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from xml.etree import ElementTree

import aiohttp
from azure.core import exceptions

from controller.cloud import errors
from controller.model import conditions, outcome

Value = TypeVar("Value")
Reason = conditions.Reason

_UNREADABLE = (
    json.JSONDecodeError,
    ElementTree.ParseError,
    exceptions.DecodeError,
    exceptions.DeserializationError,
)
MET_BY_THE_SDK = (exceptions.AzureError, aiohttp.ClientError, OSError, *_UNREADABLE)


class Refused(outcome.OutcomeError):
    """An answer other than success. `status` and `code` as Azure gave them; `code` may be empty."""

    def __init__(self, judged: outcome.Outcome, *, status: int, code: str) -> None:
        super().__init__(judged)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Answer:
    """An error answer without its request. `headers` have lower-case names."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str]


def parse(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """An error answer's code and message, from any of the shapes on the wire.

    ARM's `{"error": {...}}`; the bare `{"code", "message"}` (recorded: containerapp-patch-409-in-progress); the XML of
    Azure Files with a byte order mark (recorded: files-share-already-exists); nothing but `x-ms-error-code`; nothing.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    text = text.lstrip("\ufeff").strip()
    code, message = _from_xml(text) if text.startswith("<") else _from_json(text)
    return Answer(status, code or lower.get("x-ms-error-code", ""), message, lower)


def _from_json(text: str) -> tuple[str, str]:
    try:
        body = json.loads(text)
    except ValueError:
        return "", text
    if not isinstance(body, dict):
        return "", text
    error = body.get("error", body)
    if isinstance(error, str):
        # Entra's shape: a word and a description.
        return error, str(body.get("error_description") or "")
    if not isinstance(error, dict):
        return "", text
    return str(error.get("code") or ""), str(error.get("message") or "")


def _from_xml(text: str) -> tuple[str, str]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return "", ""
    if root.tag != "Error":
        return "", ""
    return root.findtext("Code") or "", root.findtext("Message") or ""


def unanswered(error: BaseException, host: str) -> outcome.Outcome:
    """The outcome of a call that got no answer from `host`: a name that doesn't resolve, a refused or broken
    connection, a timeout, a certificate that isn't trusted."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return outcome.Stalled(
            Reason.CONNECTION_FAILED,
            f"the certificate of {host} is not trusted; set SSL_CERT_FILE to a file with its CA",
            slowly=True,
        )
    if any(isinstance(cause, _UNREADABLE) for cause in causes):
        return outcome.Transient(Reason.AZURE_ERROR, f"the answer of {host} can't be read")
    return outcome.Transient(Reason.CONNECTION_FAILED, f"{host}: {_trouble(causes)}")


def _trouble(causes: list[BaseException]) -> str:
    if any(isinstance(cause, socket.gaierror | aiohttp.ClientConnectorDNSError) for cause in causes):
        return "the name doesn't resolve"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "connection refused"
    if any(isinstance(cause, TimeoutError | exceptions.ServiceResponseTimeoutError) for cause in causes):
        return "no answer in time"
    if any(isinstance(cause, ConnectionError | aiohttp.ServerDisconnectedError) for cause in causes):
        return "the connection broke"
    return errors.shortened(f"{type(causes[-1]).__name__}: {causes[-1]}")


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The error and what it stems from; aiohttp and the SDK each keep it in a place of their own."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (getattr(cause, name, None) for name in ("__cause__", "inner_exception", "os_error"))
        pending += [each for each in inner if isinstance(each, BaseException)]
        pending += getattr(cause, "exceptions", ())


async def judged(call: Awaitable[Value], *, host: str, secrets: Iterable[str] = ()) -> Value:
    """The call's value. Raises Refused for an error answer and OutcomeError for none.

    `secrets` are blotted out of what Azure says about the request. The exception is raised outside of the handler,
    so that nothing leads from it to the SDK's, which holds the request.
    """
    try:
        return await call
    except exceptions.HttpResponseError as error:
        failure = refusal(error, secrets=secrets) or outcome.OutcomeError(unanswered(error, host))
    except MET_BY_THE_SDK as error:
        failure = outcome.OutcomeError(unanswered(error, host))
    raise failure


def refusal(error: exceptions.HttpResponseError, *, secrets: Iterable[str] = ()) -> Refused | None:
    """The error's answer, judged; None for an error that holds none, or a success that can't be read."""
    response: Any = error.response
    if response is None or response.status_code < 300:
        return None
    return refused(response.status_code, response.headers, text(response), secrets=secrets)


def refused(status: int, headers: Mapping[str, str], text: str, *, secrets: Iterable[str] = ()) -> Refused:
    """An error answer, judged."""
    answer = parse(status, headers, text)
    answer = replace(answer, message=without(answer.message, secrets))
    judgement = errors.classify(answer.status, answer.code, answer.message, answer.headers)
    return Refused(judgement, status=answer.status, code=answer.code)


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` with each of `secrets` blotted out, the longest first."""
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def text(response: Any) -> str:
    """The body as text; empty where it wasn't read, as after a broken HEAD."""
    try:
        return str(response.text())
    except (exceptions.AzureError, UnicodeDecodeError, ValueError):
        return ""
