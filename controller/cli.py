"""The `acaops` command: reads arguments, shows results, sets the exit status. What it shows is decided elsewhere.

Exit status: 0 all is well; 1 an error, wrong usage included, or an object that isn't ready; 2 only ever `plan`'s, for
changes; 130 interrupted. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shlex
import sys
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import typer
from typer import core

from controller import assembly, commands, settings, views
from controller.sources import manifest
from controller.telemetry import log as logs


class _Commands(core.TyperGroup):
    """Wrong usage is told like every other error, with exit status 1: 2 means changes."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as error:
            views.problems(views.console(sys.stderr), [_misused(error)])
            status = 1
        if standalone_mode:
            sys.exit(status)
        return status


NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=_Commands,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=NAMES,
)
local = typer.Typer(invoke_without_command=True, context_settings=NAMES)
app.add_typer(local, name="local")

Folder = Annotated[Path, typer.Argument(help="The state folder.", show_default=True)]
Cloud = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="ACAOPS_CLOUD", help="The cloud's resource manager, https://… [default: public Azure]."
    ),
]
Inventory = Annotated[
    str, typer.Option(metavar="NAME", help="Names this set of objects in owner tags; two controllers need two names.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="SUBSCRIPTION[/GROUP]", help="What may be touched; repeatable [default: everything]."),
]
Output = Annotated[commands.Form, typer.Option("--output", "-o", help="For people or for programs.")]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="The least that is logged.")]
AzurePort = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65_535, help="The local Azure's; 0 for any free one.")
]
StatusPort = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65_535, help="The status page's; 0 for any free one.")
]
TimeScale = Annotated[
    float, typer.Option(min=0, help="How much faster than Azure's recorded times provisioning goes; 0: at once.")
]
WriteConfig = Annotated[
    bool, typer.Option("--write-config", help="Write infra/inference.config.json once an app serves.")
]
DESIRED = Path("desired_state")
STATE = Path(os.environ.get("ACAOPS_LOCAL_STATE", "~/.local/state/acaops/local")).expanduser()
State = Annotated[Path, typer.Option(metavar="FOLDER", help="Where it keeps its state.")]
INVENTORY = re.compile(r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
GUARDED = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(/[-\w.()]{1,90})?")


@app.callback()
def acaops(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """GitOps for GPU inference apps on Azure Container Apps: make Azure look like a folder of YAML.

    Example: acaops plan desired_state/

    Exit status: 0 all is well, 1 an error, 2 `plan` found changes.
    """
    if version:
        typer.echo(f"acaops {assembly.VERSION}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@local.callback()
def local_azure(context: typer.Context) -> None:
    """The embedded local Azure, on this machine.

    Example: eval "$(acaops local up)"
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def validate(folder: Folder = DESIRED) -> None:
    """Check the state folder and every content folder.

    It talks to nobody. Each problem is told with its file, line and column.

    Example: acaops validate desired_state/
    """
    source = _loaded(folder)
    if problems := commands.unpublishable(source, memory={}, changing=True):
        _refuse(problems)
    count = len(source.keys)
    typer.echo(f"{folder}: {count} object{'s' if count != 1 else ''}, valid ({source.revision})")


@app.command()
def plan(
    folder: Folder = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    allow: Allow = None,
    output: Output = "text",
) -> None:
    """Show what would change and why, writing nothing.

    Exit 0: nothing would change, 2: something would, 1: an error.

    Example: acaops plan desired_state/ -o json
    """
    source = _loaded(folder)
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=allow)
    _log("error")
    raise typer.Exit(_run(commands.plan(chosen, source, output=output)))


@app.command()
def once(
    folder: Folder = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    allow: Allow = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for everything to settle.")] = 3600.0,
    write_config: WriteConfig = False,
) -> None:
    """Converge with live progress, then exit.

    Exit 0: every object is Ready, 1: one isn't.

    Example: acaops once desired_state/ --cloud https://127.0.0.1:8443
    """
    source = _loaded(folder)
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=allow)
    _log("error")
    raise typer.Exit(_run(commands.once(chosen, source, seconds=timeout, write_config=write_config)))


@app.command()
def run(
    folder: Folder = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    allow: Allow = None,
    host: Annotated[str, typer.Option(help="The address that health, status and metrics are served on.")] = "127.0.0.1",
    port: StatusPort = 8080,
    log_level: LogLevel = "info",
    write_config: WriteConfig = False,
) -> None:
    """The daemon: watch, diff, reconcile, until SIGTERM or Ctrl-C.

    Example: acaops run desired_state/ --allow 00000000-0000-0000-0000-000000000000/rg-phi3
    """
    chosen = replace(_settings(folder, cloud=cloud, inventory=inventory, allow=allow), host=host, port=port)
    _log(log_level)
    raise typer.Exit(_run(commands.daemon(chosen, write_config=write_config)))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One object's name [default: all].")] = None,
    folder: Annotated[Path, typer.Option(help="Looked at where no daemon answers.")] = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    url: Annotated[str, typer.Option(metavar="URL", help="The daemon's address.")] = "http://127.0.0.1:8080",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds.")] = False,
    output: Output = "text",
) -> None:
    """Show what is Ready, Reconciling or Stalled, and why.

    The daemon is asked; where none answers, a read-only pass is made. Exit 0: all that is shown is Ready, 1: not all.

    Example: acaops status phi3-chat -o json
    """
    _log("error")
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=None)
    raise typer.Exit(_run(commands.status(chosen, url=url, name=name, watch=watch, output=output)))


@app.command()
def demo(
    folder: Folder = DESIRED,
    time_scale: TimeScale = 20.0,
    port: AzurePort = 8443,
    status_port: StatusPort = 8080,
) -> None:
    """A local Azure and a served fine-tuned model, in one command.

    Without a terminal it ends once the model answered; with one it stays until Ctrl-C.

    Example: acaops demo desired_state/
    """
    with _local_azure():
        from controller import demo as demonstration

    source = _loaded(folder)
    chosen = replace(_settings(folder, cloud=None, inventory="default", allow=None), port=status_port)
    stay = sys.stdout.isatty()
    show = demonstration.Demo(chosen, source, time_scale=time_scale, azure_port=port, config=commands.CONFIG, stay=stay)
    raise typer.Exit(_run(show.run()))


@local.command("up")
def local_up(state: State = STATE, port: AzurePort = 8443, time_scale: TimeScale = 20.0) -> None:
    """Start the local Azure and print how to use it.

    What is printed is for the shell to evaluate: the environment for az, the SDKs and acaops.

    Example: eval "$(acaops local up)"
    """
    with _local_azure() as lifecycle, _told(lifecycle.LifecycleError):
        server = lifecycle.up(state, port=port, time_scale=time_scale)
        exports = lifecycle.environment(server)
    for key, value in exports.items():
        typer.echo(f"export {key}={shlex.quote(value)}")
    typer.echo(f"# local Azure at {server.url}, state in {state}", err=True)


@local.command("down")
def local_down(state: State = STATE) -> None:
    """Stop the local Azure; its state stays.

    Example: acaops local down
    """
    with _local_azure() as lifecycle, _told(lifecycle.LifecycleError):
        typer.echo("stopped" if lifecycle.down(state) else "it was not running")


@local.command("reset")
def local_reset(state: State = STATE) -> None:
    """Stop the local Azure and remove its state.

    Every resource and every share in it is gone then.

    Example: acaops local reset
    """
    with _local_azure() as lifecycle, _told(lifecycle.LifecycleError):
        lifecycle.reset(state)
        typer.echo("stopped, state removed")


def _settings(folder: Path, *, cloud: str | None, inventory: str, allow: list[str] | None) -> settings.Settings:
    if cloud is not None and (not cloud.startswith("https://") or not urlsplit(cloud).hostname):
        _refuse([f"--cloud {cloud}: must be an address that begins with https://; tokens are never sent in the clear"])
    if not INVENTORY.fullmatch(inventory):
        _refuse([f"--inventory {inventory}: must be lower-case letters, digits and inner hyphens, at most 63"])
    for place in allow or ():
        if not GUARDED.fullmatch(place):
            _refuse([f"--allow {place}: must be SUBSCRIPTION or SUBSCRIPTION/GROUP, the subscription by its id"])
    return settings.Settings(folder, cloud=cloud, inventory=inventory, allow=tuple(allow or ()))


def _loaded(folder: Path) -> manifest.Source:
    try:
        return manifest.load(folder)
    except manifest.LoadError as error:
        _refuse([str(problem) for problem in error.problems])


def _misused(error: typer.TyperException) -> str:
    said = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{said}; see {context.command_path} --help" if context else said


def _refuse(lines: list[str]) -> NoReturn:
    views.problems(views.console(sys.stderr), lines)
    raise typer.Exit(1)


def _log(level: str) -> None:
    """What is told nowhere else, from `level` up. The SDK's warnings are about attempts whose failure becomes an
    outcome; they are shown where everything is."""
    logs.configure_stderr(level=level, form="auto", environ=os.environ)
    if level != "debug":
        logging.getLogger("azure").setLevel(logging.ERROR)


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        return commands.INTERRUPTED


@contextlib.contextmanager
def _local_azure() -> Iterator[Any]:
    try:
        from infra.local_azure import lifecycle

        yield lifecycle
    except ImportError as error:
        _refuse([f"the local Azure isn't installed ({error.name} is missing): pip install 'acaops[local]'"])


@contextlib.contextmanager
def _told(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        _refuse([str(error)])
