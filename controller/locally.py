"""`acaops local`: the embedded local Azure on this machine, where it is installed."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from controller import shell

verbs = typer.Typer(invoke_without_command=True, context_settings=shell.NAMES)

AzurePort = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65_535, help="The local Azure's; 0 for any free one.")
]
TimeScale = Annotated[
    float, typer.Option(min=0, help="How much faster than Azure's recorded times provisioning goes; 0: at once.")
]
STATE = Path("~/.local/state/acaops/local")
State = Annotated[Path, typer.Option(metavar="FOLDER", envvar="ACAOPS_LOCAL_STATE", help="Where it keeps its state.")]


@contextlib.contextmanager
def azure() -> Iterator[Any]:
    """Its `lifecycle`; refuses where it isn't installed."""
    try:
        from infra.local_azure import lifecycle

        yield lifecycle
    except ImportError as error:
        shell.refuse([f"the local Azure isn't installed ({error.name} is missing): pip install 'acaops[local]'"])


@verbs.callback()
def local(context: typer.Context) -> None:
    """The embedded local Azure, on this machine.

    Example: eval "$(acaops local up)"
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@verbs.command()
def up(
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
    with azure() as lifecycle, _told(lifecycle.LifecycleError):
        more = ["--scenario", str(scenario.expanduser().absolute())] if scenario else []
        server = lifecycle.up(state.expanduser(), port=port, time_scale=time_scale, more=more)
        exports = lifecycle.environment(server)
    for key, value in exports.items():
        typer.echo(f"export {key}={shlex.quote(value)}")
    typer.echo(f"# local Azure at {server.url}, state in {state}", err=True)


@verbs.command()
def down(state: State = STATE) -> None:
    """Stop the local Azure; its state stays.

    Example: acaops local down
    """
    with azure() as lifecycle, _told(lifecycle.LifecycleError):
        typer.echo("stopped" if lifecycle.down(state.expanduser()) else "it was not running")


@verbs.command()
def reset(state: State = STATE) -> None:
    """Stop the local Azure and remove its state.

    Every resource and every share in it is gone then.

    Example: acaops local reset
    """
    with azure() as lifecycle, _told(lifecycle.LifecycleError):
        lifecycle.reset(state.expanduser())
        typer.echo("stopped, state removed")


@contextlib.contextmanager
def _told(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        shell.refuse([str(error)])
