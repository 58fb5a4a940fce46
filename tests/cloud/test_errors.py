"""What each error answer of Azure means."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from controller.cloud import answers, errors
from controller.model import outcome
from controller.model.conditions import Reason

THROTTLED = (
    "Request is temporarily throttled because tenant 11111111 has issued too many requests. Retry after 2 seconds."
)
DENIED = (
    "The client 'app' with object id 'x' does not have authorization to perform action "
    "'Microsoft.App/containerApps/write' over scope '/subscriptions/s/resourceGroups/g' or the scope is invalid. If "
    "access was recently granted, please refresh your credentials."
)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "reason"),
    [
        (400, "ManagedEnvironmentNotProvisioned", "", outcome.Waiting, Reason.DEPENDENCY_NOT_READY),
        (409, "StorageAccountIsNotProvisioned", "", outcome.Waiting, Reason.DEPENDENCY_NOT_READY),
        (409, "ContainerAppOperationInProgress", "", outcome.Waiting, Reason.OPERATION_IN_PROGRESS),
        (409, "containerAppLockConflict", "", outcome.Waiting, Reason.OPERATION_IN_PROGRESS),
        (409, "ManagedEnvironmentOperationInProgress", "", outcome.Waiting, Reason.OPERATION_IN_PROGRESS),
        (409, "SomethingNew", "", outcome.Waiting, Reason.CONFLICT),
        (409, "", "", outcome.Waiting, Reason.CONFLICT),
        (409, "SharingViolation", "", outcome.Waiting, Reason.CONFLICT),
        (409, "FileLockConflict", "", outcome.Waiting, Reason.CONFLICT),
        (409, "ShareBeingDeleted", "", outcome.Waiting, Reason.CONFLICT),
        (409, "DeletePending", "", outcome.Waiting, Reason.CONFLICT),
        (409, "ManagedEnvironmentNotEmpty", "", outcome.Waiting, Reason.CONFLICT),
        (409, "ManagedEnvironmentStorageInUse", "", outcome.Waiting, Reason.CONFLICT),
        (400, "WorkloadProfileInUse", "", outcome.Waiting, Reason.CONFLICT),
        (404, "ResourceGroupNotFound", "", outcome.Waiting, Reason.DEPENDENCY_NOT_READY),
        (404, "ParentResourceNotFound", "", outcome.Waiting, Reason.DEPENDENCY_NOT_READY),
        (404, "ShareNotFound", "", outcome.Waiting, Reason.DEPENDENCY_NOT_READY),
        (429, "429", THROTTLED, outcome.Waiting, Reason.THROTTLED),
        (429, "QuotaExceeded", "", outcome.Waiting, Reason.THROTTLED),
        (401, "InvalidAuthenticationToken", "", outcome.Transient, Reason.AUTHENTICATION_FAILED),
        (408, "", "", outcome.Transient, Reason.AZURE_ERROR),
        (500, "InternalServerError", "", outcome.Transient, Reason.AZURE_ERROR),
        (502, "BadGatewayConnection", "", outcome.Transient, Reason.AZURE_ERROR),
        (503, "ServerBusy", "", outcome.Transient, Reason.AZURE_ERROR),
        (504, "GatewayTimeout", "", outcome.Transient, Reason.AZURE_ERROR),
        (400, "Md5Mismatch", "", outcome.Transient, Reason.AZURE_ERROR),
        (409, "InvalidResourceLocation", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (409, "FeatureNotSupportedForAccount", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (409, "ShareHasSnapshots", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (409, "StorageAccountAlreadyTaken", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (400, "WorkloadProfileCannotRemoveAll", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (400, "", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (404, "", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (422, "Unprocessable", "", outcome.Stalled, Reason.INVALID_REQUEST),
        (404, "SubscriptionNotFound", "", outcome.Stalled, Reason.SUBSCRIPTION_NOT_FOUND),
        (400, "InvalidSubscriptionId", "", outcome.Stalled, Reason.SUBSCRIPTION_NOT_FOUND),
    ],
)
def test_status_and_code_decide(status: int, code: str, message: str, kind: type, reason: str) -> None:
    """Each (status, code) has one outcome, whatever exception the SDK makes of it."""
    judged = errors.classify(status, code, message, {})
    assert (kind, reason) == (type(judged), judged.reason)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (403, "AuthorizationFailed", DENIED, Reason.FORBIDDEN),
        (403, "RequestDisallowedByPolicy", "", Reason.FORBIDDEN),
        (403, "", "", Reason.FORBIDDEN),
        (409, "MissingSubscriptionRegistration", "", Reason.NOT_REGISTERED),
        (409, "ScopeLocked", "", Reason.FORBIDDEN),
        (403, "AuthenticationFailed", "", Reason.AUTHENTICATION_FAILED),
        (400, "SkuNotAvailable", "", Reason.QUOTA_EXCEEDED),
        (400, "NoCapacity", "", Reason.QUOTA_EXCEEDED),
        (409, "SubscriptionDedicatedGpuQuotaExceeded", "", Reason.QUOTA_EXCEEDED),
        (400, "MaxNumberOfRegionalEnvironmentsInSubExceeded", "", Reason.QUOTA_EXCEEDED),
        (400, "SomeError", "Requested cores exceed the quota of this subscription.", Reason.QUOTA_EXCEEDED),
    ],
)
def test_what_people_outside_can_heal_is_looked_at_again_seldom(
    status: int, code: str, message: str, reason: str
) -> None:
    """Permissions and quota are Stalled, but not for ever."""
    judged = errors.classify(status, code, message, {})
    assert isinstance(judged, outcome.Stalled)
    assert (reason, True) == (judged.reason, judged.slowly)


def test_a_missing_permission_is_named() -> None:
    """A 403 says which action on which scope, and what to do."""
    judged = errors.classify(403, "AuthorizationFailed", DENIED, {})
    assert isinstance(judged, outcome.Stalled)
    assert judged.message == (
        "the controller's identity may not do 'Microsoft.App/containerApps/write' on "
        "/subscriptions/s/resourceGroups/g: grant it a role that allows it (AuthorizationFailed, HTTP 403)"
    )


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "message", "after"),
    [
        ({"retry-after": "17"}, "", 17.0),
        ({"retry-after-ms": "200", "retry-after": "17"}, "", 0.2),
        ({"x-ms-retry-after-ms": "300"}, "", 0.3),
        ({"date": format_datetime(NOW), "retry-after": format_datetime(NOW + timedelta(seconds=9))}, "", 9.0),
        ({"date": format_datetime(NOW), "retry-after": format_datetime(NOW - timedelta(seconds=9))}, "", 0.0),
        ({"retry-after": "soon"}, "", None),
        ({}, THROTTLED, 2.0),
        ({}, "", None),
    ],
)
def test_azure_says_when_to_come_back(headers: dict[str, str], message: str, after: float | None) -> None:
    """Retry-After in any of its forms, or the number of seconds in the text, becomes `after`."""
    judged = errors.classify(429, "429", message, headers)
    assert isinstance(judged, outcome.Waiting)
    assert after == judged.after


def test_a_busy_server_also_says_when() -> None:
    """Retry-After counts for a 503 as well."""
    assert errors.classify(503, "", "", {"retry-after": "5"}) == outcome.Transient(
        Reason.AZURE_ERROR, "no explanation given (HTTP 503)", 5.0
    )


XML = (
    '\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>ShareAlreadyExists</Code>'
    "<Message>The specified share already exists.\nRequestId:1\nTime:2</Message></Error>"
)


@pytest.mark.parametrize(
    ("headers", "text", "code", "message"),
    [
        ({}, json.dumps({"error": {"code": "A", "message": "why"}}), "A", "why"),
        ({}, json.dumps({"code": "A", "message": "why"}), "A", "why"),
        ({}, json.dumps({"error": "invalid_client", "error_description": "why"}), "invalid_client", "why"),
        ({}, json.dumps({"error": ["odd"]}), "", '{"error": ["odd"]}'),
        ({}, json.dumps(["odd"]), "", '["odd"]'),
        ({}, XML, "ShareAlreadyExists", "The specified share already exists.\nRequestId:1\nTime:2"),
        ({}, "<html><body>Bad gateway</body></html>", "", ""),
        ({}, "<broken", "", ""),
        ({}, "plain words", "", "plain words"),
        ({"X-Ms-Error-Code": "ResourceNotFound"}, "", "ResourceNotFound", ""),
        ({}, "", "", ""),
    ],
)
def test_every_shape_of_an_error_body_is_read(headers: dict[str, str], text: str, code: str, message: str) -> None:
    """Wrapped, bare, XML, header only, or nothing at all."""
    answer = answers.parse(409, headers, text)
    assert (code, message) == (answer.code, answer.message)


def test_a_message_is_one_line_of_bearable_length() -> None:
    """Request ids and walls of text don't get into conditions."""
    judged: Any = errors.classify(409, "ShareAlreadyExists", "It exists.\nRequestId:1\nTime:2", {})
    assert judged.message == "It exists (ShareAlreadyExists, HTTP 409)"
    assert len(errors.classify(400, "X", "long " * 1000, {}).message) < 600


def test_secrets_in_an_answer_are_blotted_out() -> None:
    """Azure quotes the request now and then; a secret that it quotes goes no further."""
    text = json.dumps({"error": {"code": "Invalid", "message": "value 'hunter2-and-more' or 'hunter2' is bad"}})
    refused = answers.refused(400, {}, text, secrets=("hunter2", "hunter2-and-more", ""))
    assert str(refused) == "value '***' or '***' is bad (Invalid, HTTP 400)"
