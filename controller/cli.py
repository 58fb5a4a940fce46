"""The `acaops` command: reads arguments, shows results, sets the exit status. What it shows is decided elsewhere.

Exit status: 0 all is well; 1 an error, wrong usage included, or an object that isn't ready; 2 only ever `plan`'s, for
changes; 75 another controller leads; 130 interrupted. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

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
    locally,
    rolling,
    settings,
    shell,
    tailing,
    views,
)
from controller.sources import manifest


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


app = typer.Typer(
    cls=_Commands,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=shell.NAMES,
)
local = locally.verbs
app.add_typer(local, name="local")
rollouts = rolling.verbs
app.add_typer(rollouts, name="rollout")

StatusPort = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65_535, help="The status page's; 0 for any free one.")
]
WriteConfig = Annotated[
    bool, typer.Option("--write-config", help="Write infra/inference.config.json once an app serves.")
]
DESIRED = Path("desired_state")


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


@app.command()
def validate(folder: Annotated[Path, typer.Argument(help="The state folder.")] = DESIRED) -> None:
    """Check the state folder and every content folder.

    It talks to nobody. Each problem is told with its file, line and column.

    Example: acaops validate desired_state/
    """
    source = _loaded(folder)
    if problems := commands.unpublishable(source, memory={}, changing=True):
        shell.refuse(problems)
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
    output: shell.Output = "text",
) -> None:
    """Show what would change and why, and whether it can work, writing nothing.

    Before anything is touched, names, region, quota, sizes, image and content are checked.

    Exit 0: nothing would change, 2: something would, 1: an error, or it can't work.

    Example: acaops plan desired_state/ --rev HEAD~1 -o json
    """
    shell.log("error")
    raise typer.Exit(shell.run(commands.plan(chosen, rev=rev, output=output)))


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
    shell.log("error")
    raise typer.Exit(shell.run(commands.once(chosen, seconds=timeout, write_config=write_config)))


@app.command()
@flags.taken("source", "azure", "scope", "prune", "election", "daemon", "api")
def run(*, chosen: settings.Settings, write_config: WriteConfig = False) -> None:
    """The daemon: follow, diff, reconcile, until told to stop.

    SIGTERM or Ctrl-C lets the step in hand end, a second one doesn't; SIGHUP makes it look at everything at once.

    Example: acaops run --repo https://github.com/contoso/models --ref main --path desired_state
    """
    shell.log(chosen.log_level)
    raise typer.Exit(shell.run(daemon.run(chosen, config=commands.CONFIG if write_config else None)))


@app.command()
@flags.taken("source", "azure", "scope", folder="option")
def status(
    name: Annotated[str | None, typer.Argument(help="One object's name [default: all].")] = None,
    *,
    chosen: settings.Settings,
    url: shell.Url = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds.")] = False,
    output: shell.Output = "text",
) -> None:
    """Show what is Ready, Reconciling or Stalled, and why.

    The daemon is asked; where none answers, a read-only pass is made. Exit 0: all that is shown is Ready, 1: not all.

    Example: acaops status phi3-chat -o json
    """
    shell.log("error")
    raise typer.Exit(
        shell.run(commands.status(chosen, url=url or commands.address(chosen), name=name, watch=watch, output=output))
    )


@app.command()
@flags.taken("api")
def reconcile(
    name: shell.Object,
    *,
    chosen: settings.Settings,
    url: shell.Url = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the pass, and show what it came to.")] = False,
    output: shell.Output = "text",
) -> None:
    """Have the daemon look at an object now, also at one that is Stalled.

    Exit 0: it does, or, with --wait, the object is Ready after it; 1: not.

    Example: acaops reconcile phi3-chat --wait
    """
    shell.log("error")
    where = url or commands.address(chosen)
    raise typer.Exit(shell.run(asking.reconcile(chosen, url=where, name=name, wait=wait, output=output)))


@app.command()
@flags.taken("source", "azure", "scope", "election", folder="option")
def delete(
    name: shell.Object,
    *,
    chosen: settings.Settings,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Environment or InferenceApp, where both have the name.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for the end.")] = 3600.0,
    output: shell.Output = "text",
) -> None:
    """Delete one object's resources, now and on purpose.

    An app goes whatever its deletionPolicy; of an Environment goes what its own policy lets go. What was adopted stays,
    and so does what an app published on the share. Exit 0: all is gone or stays by these rules, 1: not all.

    Example: acaops delete phi3-chat --allow 00000000-0000-0000-0000-000000000000/rg-phi3
    """
    shell.log("error")
    asked = deleting.Asked(name, kind, yes=yes, seconds=timeout, output=output)
    raise typer.Exit(shell.run(deleting.delete(chosen, asked)))


@app.command("logs")
@flags.taken("source", "azure", folder="option")
def show_logs(
    name: shell.App,
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
    output: shell.Output = "text",
) -> None:
    """Show what an app prints.

    Where it has several replicas, each line begins with the last part of its replica's name. It is read from Azure,
    with or without a daemon, and takes a role that may ask for an app's getAuthToken.

    Exit 0: all was read, 1: it can't be.

    Example: acaops logs phi3-chat -f --tail 20
    """
    shell.log("error")
    asked = tailing.Asked(name, follow, tail, revision=revision, replica=replica, container=container, output=output)
    raise typer.Exit(shell.run(tailing.logs(chosen, asked)))


@app.command("settings")
@flags.taken("source", "azure", "scope", "prune", "election", "daemon", "api")
def show_settings(*, choices: configuration.Choices, output: shell.Output = "text") -> None:
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
    shell.log("error")
    where = importing.Place(subscription, resource_group)
    if from_azure is None:
        status = importing.project(folder, to, where=where, force=force)
    else:
        status = shell.run(importing.live_app(chosen, from_azure, to, where=where, force=force))
    raise typer.Exit(status)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="The state folder.")] = DESIRED,
    time_scale: locally.TimeScale = 20.0,
    port: locally.AzurePort = 8443,
    status_port: StatusPort = 8080,
) -> None:
    """A local Azure and a served fine-tuned model, in one command.

    Without a terminal it ends once the model answered; with one it stays until Ctrl-C.

    Example: acaops demo desired_state/
    """
    with locally.azure():
        from controller import demo as demonstration

    source, chosen = _loaded(folder), settings.Settings(folder, port=status_port)
    show = demonstration.Demo(chosen, source, time_scale=time_scale, azure_port=port, stay=sys.stdout.isatty())
    raise typer.Exit(shell.run(show.run()))


def _loaded(folder: Path) -> manifest.Source:
    try:
        return manifest.load(folder)
    except manifest.LoadError as error:
        shell.refuse([str(problem) for problem in error.problems])


def _misused(error: typer.TyperException) -> str:
    said = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{said}; see {context.command_path} --help" if context else said
