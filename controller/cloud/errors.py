"""What an error answer of Azure means: the one table from (status, code) to an outcome. Pure.

It never looks at exception classes: the SDK raises "resource exists" for a busy app. How an answer is read from the
wire is in `answers`.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from controller.model import conditions, outcome

Reason = conditions.Reason

_LONGEST_MESSAGE = 500


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
    # Deleting what something else still stands on: it goes first. All assumed.
    "managedenvironmentnotempty": _BUSY,
    "managedenvironmentstorageinuse": _BUSY,
    "workloadprofileinuse": _BUSY,
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
    "missingsubscriptionregistration": _Row(  # documented: ARM's common errors
        outcome.Stalled,
        Reason.NOT_REGISTERED,
        slowly=True,
        remedy="register the resource provider: az provider register --namespace <provider>",
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
    "nocapacity": _QUOTA,
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
    seconds = after(headers, message)
    told = _told(status, code, message)
    if status == 429:
        return outcome.Waiting(Reason.THROTTLED, told, seconds)
    if status == 401:
        return outcome.Transient(
            Reason.AUTHENTICATION_FAILED, f"{told}; the token was dropped, the next call asks for a fresh one", seconds
        )
    row = _row(status, code, message)
    if row.remedy:
        told = f"{told}; {row.remedy}"
    if row.outcome is outcome.Stalled:
        return outcome.Stalled(row.reason, told, slowly=row.slowly)
    if row.outcome is outcome.Waiting:
        return outcome.Waiting(row.reason, told, seconds)
    return outcome.Transient(row.reason, told, seconds)


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
    return f"{shortened(message)} ({code}, HTTP {status})" if code else f"{shortened(message)} (HTTP {status})"


def shortened(message: str) -> str:
    """The first line, at a bearable length: what follows is the request's id and time."""
    line = message.strip().partition("\n")[0].strip().removesuffix(".") or "no explanation given"
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def after(headers: Mapping[str, str], message: str) -> float | None:
    """Seconds to wait: `retry-after-ms`, `x-ms-retry-after-ms`, `Retry-After` (seconds or a date), or the text,
    which is all a tenant's throttle gives (recorded: arm-429-throttled)."""
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := headers.get(name, "")).isdigit():
            return int(milliseconds) / 1000
    value = headers.get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    moment, sent = _date(value), _date(headers.get("date", ""))
    if moment and sent:
        # Measured by the answer's own clock: this machine's may be wrong.
        return max(0.0, (moment - sent).total_seconds())
    written = _RETRY_TEXT.search(message)
    return float(written[1]) if written else None


def _date(value: str) -> datetime | None:
    try:
        return email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
