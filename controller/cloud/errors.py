"""What an answer of Azure, or the lack of one, means: the one table from (status, code) to an outcome.

`classify` is pure. It never looks at exception classes: the SDK raises "resource exists" for a busy app.
`judged` is the seam through which every call to Azure goes; what it raises carries neither the request nor
its body. Nothing here retries or waits.
"""

from __future__ import annotations

import email.utils
import json
import re
import socket
import ssl
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from xml.etree import ElementTree

import aiohttp
from azure.core import exceptions

from controller.model import conditions, outcome

Value = TypeVar("Value")
Reason = conditions.Reason

_LONGEST_MESSAGE = 500
_UNREADABLE = (json.JSONDecodeError, exceptions.DecodeError, exceptions.DeserializationError)
_MET_BY_THE_SDK = (exceptions.AzureError, aiohttp.ClientError, OSError, *_UNREADABLE)


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


class _Row(NamedTuple):
    outcome: type[outcome.Waiting] | type[outcome.Transient] | type[outcome.Stalled]
    reason: str
    slowly: bool = False
    remedy: str = ""


_DEPENDENCY = _Row(outcome.Waiting, Reason.DEPENDENCY_NOT_READY)
_IN_OPERATION = _Row(outcome.Waiting, Reason.OPERATION_IN_PROGRESS)
_BUSY = _Row(outcome.Waiting, Reason.CONFLICT)
_INVALID = _Row(outcome.Stalled, Reason.INVALID_REQUEST)
_FORBIDDEN = _Row(outcome.Stalled, Reason.FORBIDDEN, slowly=True)
_SUBSCRIPTION = _Row(
    outcome.Stalled, Reason.SUBSCRIPTION_NOT_FOUND, remedy="check subscriptionId and the identity's tenant"
)
_QUOTA = _Row(outcome.Stalled, Reason.QUOTA_EXCEEDED, slowly=True)
_AGAIN = _Row(outcome.Transient, Reason.AZURE_ERROR)

# By lower-case code. 409 unless another status stands beside it; "recorded" names the sample.
_CODES: Mapping[str, _Row] = {
    # Waiting codes.
    "managedenvironmentnotprovisioned": _DEPENDENCY,  # 400, recorded: containerapp-put-env-not-provisioned
    "storageaccountisnotprovisioned": _DEPENDENCY,  # recorded: storageaccount-listkeys-notprovisioned
    "containerappoperationinprogress": _IN_OPERATION,  # recorded: containerapp-patch-409-in-progress
    "containerapplockconflict": _IN_OPERATION,
    "managedenvironmentoperationinprogress": _IN_OPERATION,
    # 404s on a write: what it stands on went away, the next look makes it again.
    "resourcegroupnotfound": _DEPENDENCY,  # recorded: resourcegroup-get-notfound
    "parentresourcenotfound": _DEPENDENCY,
    "resourcenotfound": _DEPENDENCY,  # recorded: managedenv-get-notfound
    "managedenvironmentnotfound": _DEPENDENCY,
    "managedenvironmentstoragenotfound": _DEPENDENCY,  # recorded: envstorage-get-notfound
    "sharenotfound": _DEPENDENCY,  # recorded: fileshare-arm-get-notfound
    "parentnotfound": _DEPENDENCY,  # a folder on a share
    # 409s that no waiting heals.
    "invalidresourcelocation": _INVALID,
    "featurenotsupportedforaccount": _INVALID,
    "sharehassnapshots": _INVALID,
    "storageaccountalreadytaken": _INVALID._replace(remedy="the name belongs to another subscription: choose another"),
    "missingsubscriptionregistration": _FORBIDDEN._replace(
        remedy="register the resource provider: az provider register --namespace <provider>"
    ),
    "scopelocked": _FORBIDDEN._replace(remedy="remove the lock on the resource"),
    "readonlydisabledsubscription": _FORBIDDEN._replace(remedy="enable the subscription"),
    # 403.
    "authorizationfailed": _FORBIDDEN,
    "linkedauthorizationfailed": _FORBIDDEN,
    "requestdisallowedbypolicy": _FORBIDDEN._replace(remedy="an Azure Policy denies it: change the policy or the spec"),
    "keybasedauthenticationnotpermitted": _FORBIDDEN._replace(remedy="allow shared key access on the storage account"),
    "authorizationfailure": _FORBIDDEN._replace(remedy="let the storage account's firewall admit the controller"),
    "authenticationfailed": _Row(
        outcome.Stalled, Reason.AUTHENTICATION_FAILED, slowly=True, remedy="check the clock and the account's keys"
    ),
    # 404 or 400.
    "subscriptionnotfound": _SUBSCRIPTION,
    "invalidsubscriptionid": _SUBSCRIPTION,
    # Capacity, whatever the status.
    "skunotavailable": _QUOTA,
    "allocationfailed": _QUOTA,
    "zonalallocationfailed": _QUOTA,
    "overconstrainedallocationrequest": _QUOTA,
    "insufficientcapacity": _QUOTA,
    # The data plane of Azure Files.
    "sharingviolation": _BUSY,
    "filelockconflict": _BUSY,
    "sharebeingdeleted": _BUSY,
    "deletepending": _BUSY,
    "serverbusy": _AGAIN,
    "operationtimedout": _AGAIN,
    "internalerror": _AGAIN,
    "md5mismatch": _AGAIN,  # 400: the bytes broke on their way, sending them again heals it
}

_QUOTA_CODE = re.compile(r"quota|limit(reached|exceeded)|(maxnumber|count).*exceeded", re.IGNORECASE)
_QUOTA_TEXT = re.compile(r"\bquota\b", re.IGNORECASE)
_RETRY_TEXT = re.compile(r"retry after (\d+(?:\.\d+)?) seconds?", re.IGNORECASE)
_ACTION = re.compile(r"perform action '([^']+)'.*? over scope '([^']+)'", re.DOTALL)


def classify(status: int, code: str, message: str, headers: Mapping[str, str]) -> outcome.Outcome:
    """The outcome that an error answer stands for. `headers` have lower-case names. Pure.

    Order: throttling, authentication, the table of codes, quota by its words, then the status alone.
    """
    after = _after(headers, message)
    told = _told(status, code, message)
    if status == 429:
        return outcome.Waiting(Reason.THROTTLED, told, after)
    if status == 401:
        return outcome.Transient(
            Reason.AUTHENTICATION_FAILED, f"{told}; the token was dropped, the next call asks for a fresh one", after
        )
    row = _row(status, code, message)
    if row.remedy:
        told = f"{told}; {row.remedy}"
    if row.outcome is outcome.Stalled:
        return outcome.Stalled(row.reason, told, slowly=row.slowly)
    if row.outcome is outcome.Waiting:
        return outcome.Waiting(row.reason, told, after)
    return outcome.Transient(row.reason, told, after)


def _row(status: int, code: str, message: str) -> _Row:
    if status >= 500 or status == 408:
        return _AGAIN
    if row := _CODES.get(code.lower()):
        return row
    if _QUOTA_CODE.search(code) or (status in (400, 403, 409) and _QUOTA_TEXT.search(message)):
        return _QUOTA
    if status == 403:
        return _FORBIDDEN
    return _BUSY if status == 409 else _INVALID


def _told(status: int, code: str, message: str) -> str:
    """One line: what Azure said, and under which name it can be looked up."""
    if code.lower() == "authorizationfailed" and (denied := _ACTION.search(message)):
        message = f"the controller's identity may not do '{denied[1]}' on {denied[2]}: grant it a role that allows it"
    return f"{_shortened(message)} ({code}, HTTP {status})" if code else f"{_shortened(message)} (HTTP {status})"


def _shortened(message: str) -> str:
    line = message.strip().partition("\n")[0].strip().removesuffix(".") or "no explanation given"
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def _after(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds to wait: `retry-after-ms`, `x-ms-retry-after-ms`, `Retry-After` (seconds or a date), or the text,
    which is all a tenant's throttle gives (recorded: arm-429-throttled)."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := headers.get(name, "")).isdigit():
            return int(milliseconds) / 1000
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    if moment := _date(value):
        # Measured against the answer's own clock, so that this one may be wrong.
        sent = _date(headers.get("date", "")) or datetime.now(UTC)
        return max(0.0, (moment - sent).total_seconds())
    written = _RETRY_TEXT.search(message)
    return float(written[1]) if written else None


def _date(value: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None


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
    return _shortened(f"{type(causes[-1]).__name__}: {causes[-1]}")


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
    except _MET_BY_THE_SDK as error:
        failure = outcome.OutcomeError(unanswered(error, host))
    raise failure


def refusal(error: exceptions.HttpResponseError, *, secrets: Iterable[str] = ()) -> Refused | None:
    """The error's answer, judged; None for an error that holds none, or a success that can't be read."""
    response: Any = error.response
    if response is None or response.status_code < 300:
        return None
    return refused(response.status_code, response.headers, _text(response), secrets=secrets)


def refused(status: int, headers: Mapping[str, str], text: str, *, secrets: Iterable[str] = ()) -> Refused:
    """An error answer, judged."""
    answer = parse(status, headers, text)
    answer = replace(answer, message=without(answer.message, secrets))
    judgement = classify(answer.status, answer.code, answer.message, answer.headers)
    return Refused(judgement, status=answer.status, code=answer.code)


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` with each of `secrets` blotted out, the longest first."""
    for secret in sorted({each for each in secrets if each}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _text(response: Any) -> str:
    """The body as text; empty where it was never read, as after a broken HEAD."""
    try:
        return str(response.text())
    except (exceptions.AzureError, UnicodeDecodeError, ValueError):
        return ""
