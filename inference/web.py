"""Puts the served application together: the APIs' routes, and the chat page where it is wanted."""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager
from typing import Any

import fastapi
from starlette.routing import Route

from inference import admin_api, answers, openai_api, reload, settings, status, wire


def imports(*, with_page: bool) -> None:
    """Do the slow imports now, so that `application` is quick."""
    if with_page:
        importlib.import_module("inference.ui")


def application(
    opened: answers.Answers,
    *,
    state: status.Status,
    limits: settings.Settings,
    reload: reload.Reload | None = None,
) -> fastapi.FastAPI:
    """The app to hand over to. `state.served` need not be set; the engine's facts come with `opened`.

    `reload` puts other adapters in; None when there is nothing to exchange.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # FastAPI would answer a missing or extra slash with a redirect, which clients don't follow with their body.
    app.router.redirect_slashes = False
    app.router.routes.extend(openai_api.Api(opened, limits=limits).routes())
    app.router.routes.extend(admin_api.routes(reload, limits=limits))
    if limits.ui_enabled:
        ui = importlib.import_module("inference.ui")
        ui.mount(app, opened, release=state.release, limits=limits)
    else:
        app.router.routes.append(Route("/{rest:path}", wire.Endpoint(wire.unknown, method=None, keys=wire.Keys(()))))
    return app


def lifespan(app: fastapi.FastAPI) -> AbstractAsyncContextManager[Any]:
    """The app's own start-up and shutdown (gradio's queue), to be entered by hand: the server started long ago."""
    return app.router.lifespan_context(app)
