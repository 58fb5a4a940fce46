"""The `acaops` command: reads arguments, shows results, sets the exit status. What it shows is decided elsewhere.

Exit status: 0 all is well; 1 an error, wrong usage included, or an object that isn't ready; 2 only ever `plan`'s, for
changes; 75 another controller leads; 130 interrupted. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer import core

from controller import (
    asking,
    assembly,
    commands,
    configuration,
    daemon,
    deleting,
    flags,
    importing,
    releasing,
    settings,
    signals,
    tailing,
    views,
)
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
rollouts = typer.Typer(invoke_without_command=True, context_settings=NAMES)
app.add_typer(rollouts, name="rollout")

Output = Annotated[commands.Form, typer.Option("--output", "-o", help="For people or for programs.")]
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
STATE = Path("~/.local/state/acaops/local")
State = Annotated[Path, typer.Option(metavar="FOLDER", envvar="ACAOPS_LOCAL_STATE", help="Where it keeps its state.")]


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
def validate(folder: Annotated[Path, typer.Argument(help="The state folder.")] = DESIRED) -> None:
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
@flags.taken("source", "azure", "scope", "prune")
def plan(
    *,
    chosen: settings.Settings,
    rev: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Show what this commit would change, not what is there now.")
    ] = None,
    output: Output = "text",
) -> None:
    """Show what would change and why, and whether it can work, writing nothing.

    Before anything is touched, names, region, quota, sizes, image and content are checked.

    Exit 0: nothing would change, 2: something would, 1: an error, or it can't work.

    Example: acaops plan desired_state/ --rev HEAD~1 -o json
    """
    _log("error")
    raise typer.Exit(_run(commands.plan(chosen, rev=rev, output=output)))


@app.command()
@flags.taken("source", "azure", "scope", "prune", "election")
def once(
    *,
    chosen: settings.Settings,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for everything to settle.")] = 3600.0,
    write_config: WriteConfig = False,
) -> None:
    """Converge with live progress, then exit.

    Exit 0: every object is Ready, 1: one isn't, 75: another controller holds the lease.

    Example: acaops once desired_state/ --cloud https://127.0.0.1:8443
    """
    _log("error")
    raise typer.Exit(_run(commands.once(chosen, seconds=timeout, write_config=write_config)))


@app.command()
@flags.taken("source", "azure", "scope", "prune", "election", "daemon", "api")
def run(*, chosen: settings.Settings, write_config: WriteConfig = False) -> None:
    """The daemon: follow, diff, reconcile, until told to stop.

    SIGTERM or Ctrl-C lets the step in hand end, a second one doesn't; SIGHUP makes it look at everything at once.

    Example: acaops run --repo https://github.com/contoso/models --ref main --path desired_state
    """
    _log(chosen.log_level)
    raise typer.Exit(_run(daemon.run(chosen, config=commands.CONFIG if write_config else None)))


@app.command()
@flags.taken("source", "azure", "scope", folder="option")
def status(
    name: Annotated[str | None, typer.Argument(help="One object's name [default: all].")] = None,
    *,
    chosen: settings.Settings,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="ACAOPS_URL", help="The daemon's address [default: by host and port]."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds.")] = False,
    output: Output = "text",
) -> None:
    """Show what is Ready, Reconciling or Stalled, and why.

    The daemon is asked; where none answers, a read-only pass is made. Exit 0: all that is shown is Ready, 1: not all.

    Example: acaops status phi3-chat -o json
    """
    _log("error")
    raise typer.Exit(
        _run(commands.status(chosen, url=url or commands.address(chosen), name=name, watch=watch, output=output))
    )


@app.command()
@flags.taken("api")
def reconcile(
    name: Annotated[str, typer.Argument(help="The object's name.")],
    *,
    chosen: settings.Settings,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="ACAOPS_URL", help="The daemon's address [default: by host and port]."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the pass, and show what it came to.")] = False,
    output: Output = "text",
) -> None:
    """Have the daemon look at an object now, also at one that is Stalled.

    Exit 0: it does, or, with --wait, the object is Ready after it; 1: not.

    Example: acaops reconcile phi3-chat --wait
    """
    _log("error")
    where = url or commands.address(chosen)
    raise typer.Exit(_run(asking.reconcile(chosen, url=where, name=name, wait=wait, output=output)))


@app.command()
@flags.taken("source", "azure", "scope", "election", folder="option")
def delete(
    name: Annotated[str, typer.Argument(help="The object's name.")],
    *,
    chosen: settings.Settings,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Environment or InferenceApp, where both have the name.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the end.")] = 3600.0,
    output: Output = "text",
) -> None:
    """Delete one object's resources, now and on purpose.

    An app goes whatever its deletionPolicy; of an Environment goes what its own policy lets go. What was adopted stays,
    and so does what an app published on the share. Exit 0: all is gone or stays by these rules, 1: not all.

    Example: acaops delete phi3-chat --allow 00000000-0000-0000-0000-000000000000/rg-phi3
    """
    _log("error")
    asked = deleting.Asked(name, kind, yes=yes, seconds=timeout, output=output)
    raise typer.Exit(_run(deleting.delete(chosen, asked)))


@app.command("logs")
@flags.taken("source", "azure", folder="option")
def show_logs(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    *,
    chosen: settings.Settings,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new line, until Ctrl-C.")] = False,
    tail: Annotated[int, typer.Option(min=0, max=300, help="How many of the last lines of each replica.")] = 100,
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name or suffix [default: the latest one].")
    ] = None,
    replica: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name or last part [default: all of them].")
    ] = None,
    container: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where there are several [default: the app's own].")
    ] = None,
    output: Output = "text",
) -> None:
    """Show what an app prints.

    Where it has several replicas, each line begins with the last part of its replica's name. It is read from Azure,
    with or without a daemon, and takes a role that may ask for an app's getAuthToken.

    Exit 0: all was read, 1: it can't be.

    Example: acaops logs phi3-chat -f --tail 20
    """
    _log("error")
    asked = tailing.Asked(name, follow, tail, revision=revision, replica=replica, container=container, output=output)
    raise typer.Exit(_run(tailing.logs(chosen, asked)))


@rollouts.callback()
def rollout_verbs(context: typer.Context) -> None:
    """See how an app's rollout stands; go back, or try once more.

    Example: acaops rollout status phi3-chat
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@rollouts.command("status")
@flags.taken("source", "azure", "scope", folder="option")
def rollout_status(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    *,
    chosen: settings.Settings,
    output: Output = "text",
) -> None:
    """Show how an app's rollout stands: what is wanted, what serves, and why something stopped.

    It is read from Azure, with or without a daemon. Exit 0: the wanted release serves, 1: it doesn't.

    Example: acaops rollout status phi3-chat
    """
    _log("error")
    raise typer.Exit(_run(releasing.status(chosen, name, output=output)))


@rollouts.command("history")
@flags.taken("source", "azure", "scope", folder="option")
def rollout_history(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    *,
    chosen: settings.Settings,
    output: Output = "text",
) -> None:
    """Show the revisions that Azure keeps of an app, and which releases they are of, newest first.

    Example: acaops rollout history phi3-chat
    """
    _log("error")
    raise typer.Exit(_run(releasing.history(chosen, name, output=output)))


@rollouts.command("undo")
@flags.taken("source", "azure", "scope", folder="option")
def rollout_undo(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    *,
    chosen: settings.Settings,
) -> None:
    """Go back to the last healthy release, and reject the one that is wanted.

    It isn't tried again until the desired state comes to another release, or by `acaops rollout retry`. The controller
    does the rest; the desired state stays as it is.

    Example: acaops rollout undo phi3-chat
    """
    _log("error")
    raise typer.Exit(_run(releasing.undo(chosen, name)))


@rollouts.command("retry")
@flags.taken("source", "azure", "scope", folder="option")
def rollout_retry(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    *,
    chosen: settings.Settings,
) -> None:
    """Try a rejected release once more.

    Example: acaops rollout retry phi3-chat
    """
    _log("error")
    raise typer.Exit(_run(releasing.retry(chosen, name)))


@app.command("settings")
@flags.taken("source", "azure", "scope", "prune", "election", "daemon", "api")
def show_settings(*, choices: configuration.Choices, output: Output = "text") -> None:
    """Show every setting and where it comes from.

    A setting is the flag `--fetch-interval`, the variable ACAOPS_FETCH_INTERVAL or the key `fetch-interval` of the
    file, in this order. Secrets are never shown.

    Example: acaops settings --config acaops.yaml -o json
    """
    commands.show_settings(choices, output=output)


@app.command("import")
@flags.taken("azure")
def import_state(
    folder: Annotated[Path, typer.Argument(help="An AI Toolkit project, or its infra folder.")] = Path("infra"),
    *,
    chosen: settings.Settings,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the YAML goes.")] = DESIRED,
    from_azure: Annotated[
        str | None, typer.Option(metavar="GROUP/APP", help="Read a live container app, not a project.")
    ] = None,
    subscription: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Where the project names none; for a live app, if there are several."),
    ] = None,
    resource_group: Annotated[str | None, typer.Option(metavar="NAME", help="Where the project names none.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write an AI Toolkit project, or a live app, as YAML.

    On an unchanged stack `plan` then shows nothing but tags, content and a revision. Secrets become references.

    Example: acaops import infra/ --to desired_state
    """
    _log("error")
    where = importing.Place(subscription, resource_group)
    if from_azure is None:
        status = importing.project(folder, to, where=where, force=force)
    else:
        status = _run(importing.live_app(chosen, from_azure, to, where=where, force=force))
    raise typer.Exit(status)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="The state folder.")] = DESIRED,
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

    source, chosen = _loaded(folder), settings.Settings(folder, port=status_port)
    show = demonstration.Demo(chosen, source, time_scale=time_scale, azure_port=port, stay=sys.stdout.isatty())
    raise typer.Exit(_run(show.run()))


@local.command("up")
def local_up(
    state: State = STATE,
    port: AzurePort = 8443,
    time_scale: TimeScale = 20.0,
    scenario: Annotated[Path | None, typer.Option(metavar="FILE", help="What goes wrong with replicas.")] = None,
) -> None:
    """Start the local Azure and print how to use it.

    What is printed is for the shell to evaluate: the environment for az, the SDKs and acaops.

    A scenario is YAML, rules like {app: phi3-chat, does: crash, after: 30}; does is pull-fails, pull-takes, capacity,
    quota, slow-start, hang, crash, out-of-memory or flap: python -m infra.local_azure serve --help tells of each.

    Example: eval "$(acaops local up)"
    """
    with _local_azure() as lifecycle, _told(lifecycle.LifecycleError):
        more = ["--scenario", str(scenario.expanduser().absolute())] if scenario else []
        server = lifecycle.up(state.expanduser(), port=port, time_scale=time_scale, more=more)
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
        typer.echo("stopped" if lifecycle.down(state.expanduser()) else "it was not running")


@local.command("reset")
def local_reset(state: State = STATE) -> None:
    """Stop the local Azure and remove its state.

    Every resource and every share in it is gone then.

    Example: acaops local reset
    """
    with _local_azure() as lifecycle, _told(lifecycle.LifecycleError):
        lifecycle.reset(state.expanduser())
        typer.echo("stopped, state removed")


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
        return signals.INTERRUPTED


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
