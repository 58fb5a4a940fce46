"""Puts the served application together: the API's routes, and the chat page where it is wanted."""

from __future__ import annotations

import importlib
from contextlib import AbstractAsyncContextManager
from typing import Any

import fastapi

from inference import answers, openai_api, settings, status


def imports(*, with_page: bool) -> None:
    """Do the slow imports now, so that `application` is quick."""
    if with_page:
        importlib.import_module("inference.ui")


def application(opened: answers.Answers, *, state: status.Status, limits: settings.Settings) -> fastapi.FastAPI:
    """The app to hand over to. `state.served` need not be set; the engine's facts come with `opened`."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api = openai_api.Api(opened, served=opened.served, limits=limits)
    app.router.routes.extend(api.routes())
    if limits.ui_enabled:
        ui = importlib.import_module("inference.ui")
        ui.mount(app, opened, served=opened.served, release=state.release, limits=limits)
    return app


def lifespan(app: fastapi.FastAPI) -> AbstractAsyncContextManager[Any]:
    """The app's own start-up and shutdown (gradio's queue), to be entered by hand: the server started long ago."""
    return app.router.lifespan_context(app)
