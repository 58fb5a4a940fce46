"""`acaops rollout`: reads its commands' arguments. What they do is in `releasing`."""

from __future__ import annotations

import typer

from controller import flags, releasing, settings, shell

verbs = typer.Typer(invoke_without_command=True, context_settings=shell.NAMES)

_taken = flags.taken("source", "azure", "scope", folder="option")


@verbs.callback()
def rollout(context: typer.Context) -> None:
    """See how an app's rollout stands; go back, or try once more.

    Example: acaops rollout status phi3-chat
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@verbs.command()
@_taken
def status(name: shell.App, *, chosen: settings.Settings, output: shell.Output = "text") -> None:
    """Show how an app's rollout stands: what is wanted, what serves, and why something stopped.

    It is read from Azure, with or without a daemon. Exit 0: the wanted release serves, 1: it doesn't.

    Example: acaops rollout status phi3-chat
    """
    shell.log("error")
    raise typer.Exit(shell.run(releasing.status(chosen, name, output=output)))


@verbs.command()
@_taken
def history(name: shell.App, *, chosen: settings.Settings, output: shell.Output = "text") -> None:
    """Show the revisions of an app, which releases they are of, and why those failed that did, newest first.

    Example: acaops rollout history phi3-chat
    """
    shell.log("error")
    raise typer.Exit(shell.run(releasing.history(chosen, name, output=output)))


@verbs.command()
@_taken
def undo(name: shell.App, *, chosen: settings.Settings) -> None:
    """Go back to the last healthy release, and reject the one that is wanted.

    It isn't tried again until the desired state comes to another release, or by `acaops rollout retry`. The controller
    does the rest; the desired state stays as it is.

    Example: acaops rollout undo phi3-chat
    """
    shell.log("error")
    raise typer.Exit(shell.run(releasing.undo(chosen, name)))


@verbs.command()
@_taken
def retry(name: shell.App, *, chosen: settings.Settings) -> None:
    """Try a rejected release once more.

    Example: acaops rollout retry phi3-chat
    """
    shell.log("error")
    raise typer.Exit(shell.run(releasing.retry(chosen, name)))
