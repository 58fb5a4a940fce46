"""What every request to ARM passes through on its way out. No retries, no redirects, no registration of
providers, no logging: whoever calls decides what happens next, and says so."""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse, policies
from azure.mgmt.core import policies as arm_policies

from controller.model import conditions, outcome


class OneHost(policies.SansIOHTTPPolicy[Any, Any]):
    """Keeps the bearer token from leaving for another host, e.g. by a `nextLink` that names one."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._host = urlsplit(endpoint).netloc.lower()

    def on_request(self, request: PipelineRequest[Any]) -> None:
        host = urlsplit(request.http_request.url).netloc.lower()
        if host != self._host:
            raise outcome.OutcomeError(
                outcome.Stalled(conditions.Reason.INVALID_REQUEST, f"refused to send a token of {self._host} to {host}")
            )


class Unauthorized(policies.SansIOHTTPPolicy[Any, Any]):
    """Calls `forget` when a token was refused: credentials keep theirs until it expires, valid or not."""

    def __init__(self, forget: Callable[[], None]) -> None:
        super().__init__()
        self._forget = forget

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        if response.http_response.status_code == 401:
            self._forget()


class RequestId(policies.SansIOHTTPPolicy[Any, Any]):
    """Names each request, for Azure's support. The SDK's own policy asks the system for every id, which takes longer
    than the rest of a request's way out."""

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.http_request.headers["x-ms-client-request-id"] = str(uuid.uuid4())


def arm(endpoint: str, *, credential: AsyncTokenCredential, scope: str, forget: Callable[[], None]) -> list[Any]:
    """The policies of one client, outermost first. They can't be shared: a pipeline links them together."""
    return [
        OneHost(endpoint),
        Unauthorized(forget),
        RequestId(),
        policies.HeadersPolicy(),
        policies.UserAgentPolicy(base_user_agent=user_agent()),
        arm_policies.AsyncARMChallengeAuthenticationPolicy(credential, scope),
    ]


def user_agent() -> str:
    """`acaops/<version>`; "dev" where the package isn't installed."""
    try:
        return f"acaops/{importlib.metadata.version('acaops')}"
    except importlib.metadata.PackageNotFoundError:
        return "acaops/dev"
