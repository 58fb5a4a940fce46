"""What the commands of `acaops` share: arguments, how much is told besides the result, and how an interrupted one ends.
It knows no command.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer

from controller import commands, signals, views
from controller.telemetry import log as logs

NAMES = {"help_option_names": ["-h", "--help"]}

Object = Annotated[str, typer.Argument(help="The object's name.")]
App = Annotated[str, typer.Argument(help="The app's name.")]
Output = Annotated[commands.Form, typer.Option("--output", "-o", help="For people or for programs.")]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", envvar="ACAOPS_URL", help="The daemon's address [default: by host and port]."),
]


def log(level: str) -> None:
    """What is told nowhere else, from `level` up. The SDK's warnings are about attempts whose failure becomes an
    outcome; they are shown where everything is."""
    logs.configure_stderr(level=level, form="auto", environ=os.environ)
    if level != "debug":
        logging.getLogger("azure").setLevel(logging.ERROR)


def run(main: Coroutine[Any, Any, int]) -> int:
    """The exit status of `main`."""
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        return signals.INTERRUPTED


def refuse(lines: list[str]) -> NoReturn:
    """End with exit status 1, for these reasons."""
    views.problems(views.console(sys.stderr), lines)
    raise typer.Exit(1)
