"""What clients are told when something goes wrong: OpenAI's error envelope, and the one table of what becomes which.

Owns statuses, types and codes; must not know HTTP's server side. What nobody expected is logged here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from inference import admission, answers, engine, logs

_LOG = logging.getLogger("inference.api")
_RESTART = {"retry-after": "10"}
"""Seconds after which a replica that ends may have been replaced."""


class ApiError(Exception):
    """An error in OpenAI's terms: HTTP status, and `type`, `param` and `code` of its envelope."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def told(error: Exception, *, request_id: str) -> ApiError:
    """What the client is told of `error`."""
    known = error if isinstance(error, ApiError) else _known(error)
    if known is not None:
        return known
    logs.event(_LOG, "unexpected", level=logging.ERROR, trace=True, request_id=request_id)
    return _server(500, f"internal error: {type(error).__name__}", code="internal_error")


def bad_prompt(error: engine.BadPrompt, *, param: str | None) -> ApiError:
    """What the client is told of a prompt that came in the field `param`."""
    too_long = isinstance(error, answers.PromptTooLong)
    return ApiError(400, str(error), param=param, code="context_length_exceeded" if too_long else "invalid_value")


def _known(error: Exception) -> ApiError | None:
    text = str(error)
    match error:
        case engine.BadPrompt():
            return bad_prompt(error, param=None)
        case admission.Draining():
            return _server(503, text, code="shutting_down", headers=_again(error))
        case admission.Refused():
            kind = "rate_limit_error"
            return ApiError(429, text, kind=kind, code="rate_limit_exceeded", headers=_again(error))
        case answers.Interrupted():
            return _server(503, text, code="shutting_down", headers=_RESTART)
        case engine.EngineDown():
            return _server(503, text, code="engine_down", headers=_RESTART)
        case engine.EngineError():
            return _server(500, text, code="engine_error")
        case _:
            return None


def _server(status: int, text: str, *, code: str, headers: Mapping[str, str] | None = None) -> ApiError:
    return ApiError(status, text, kind="server_error", code=code, headers=headers)


def _again(refused: admission.Refused) -> dict[str, str]:
    return {"retry-after": str(refused.retry_after)}
