"""The flags of commands that take settings, made from the table of settings. It reads no value but through
`configuration`."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from controller import configuration, options, views

Command = Callable[..., None]

CONFIG = "config"


Place = Literal["argument", "option"]


def taken(*groups: options.Group, folder: Place = "argument") -> Callable[[Command], Command]:
    """Give a command the flags of these groups, and what they come to as `chosen` (settings.Settings) and `choices`,
    where it takes that. `folder` says how the state folder is given."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        taken = [one for one in options.OPTIONS if one.group in groups and not one.secret]

        def run(**given: Any) -> None:
            flags = {one.name: given.pop(_name(one)) for one in taken}
            choices = _chosen(flags, given.pop(CONFIG))
            results = {"chosen": configuration.settled(choices), "choices": choices}
            command(**given, **{name: value for name, value in results.items() if name in own})

        kept = [_keyword(one) for one in own.values() if one.name not in ("chosen", "choices")]
        made = [_parameter(one, argument=one.name == "folder" and folder == "argument") for one in taken]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature([*kept, *made, _config()])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return decorate


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _parameter(option: options.Option, *, argument: bool) -> inspect.Parameter:
    told = f"{option.help} [default: {option.default}]" if option.default and not option.switch else option.help
    kind: Any = bool if option.switch else list[str] if option.many else str
    info: Any = (
        typer.Argument(metavar=option.metavar, help=told, show_default=False)
        if argument
        else typer.Option(f"--{option.name}", metavar=None if option.switch else option.metavar, help=told)
    )
    return _made(_name(option), Annotated[kind | None, info])


def _config() -> inspect.Parameter:
    told = "The settings file, YAML; flags and variables come first."
    info = typer.Option("--config", metavar="FILE", envvar="ACAOPS_CONFIG", help=told)
    return _made(CONFIG, Annotated[str | None, info])


def _made(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _name(option: options.Option) -> str:
    return option.name.replace("-", "_")


def _chosen(flags: dict[str, Any], file: str | None) -> configuration.Choices:
    console = views.console(sys.stderr)
    views.warnings(console, configuration.strangers(os.environ))
    try:
        return configuration.choose(flags, environ=os.environ, file=Path(file) if file else None)
    except configuration.ConfigurationError as error:
        views.problems(console, error.problems)
        raise typer.Exit(1) from None
