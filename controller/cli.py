"""The `acaops` command: reads arguments, shows results, sets the exit status. What it shows is decided elsewhere.

Exit status: 0 all is well; 1 an error, or an object that is stalled; 2 `plan` found changes, or wrong usage.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import aiohttp
import typer

from controller import assembly, loop, objects, settings, views
from controller.model import outcome
from controller.plan import render
from controller.sources import content, manifest
from controller.status import store, summarize
from controller.telemetry import http
from controller.telemetry import log as logs

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="GitOps for GPU inference apps on Azure Container Apps: make Azure look like a folder of YAML.",
)
local = typer.Typer(no_args_is_help=True, help="The embedded local Azure: the real wire protocol, on this machine.")
app.add_typer(local, name="local")

Folder = Annotated[Path, typer.Argument(help="The state folder.", show_default=True)]
Cloud = Annotated[
    str | None, typer.Option(envvar="ACAOPS_CLOUD", help="URL of the cloud's resource manager [default: public Azure].")
]
Inventory = Annotated[
    str, typer.Option(help="Names this set of objects in owner tags; two controllers need two names.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="SUBSCRIPTION[/GROUP]", help="What may be touched; repeatable [default: everything]."),
]
Output = Annotated[str, typer.Option("--output", "-o", help="text or json.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
DESIRED = Path("desired_state")
STATE = Path(os.environ.get("ACAOPS_LOCAL_STATE", "~/.local/state/acaops/local")).expanduser()
CONFIG = Path("infra/inference.config.json")


@app.command()
def validate(folder: Folder = DESIRED) -> None:
    """Check the state folder and every content folder, touching nothing.

    Example: acaops validate desired_state/
    """
    source = _loaded(folder)
    problems = [problem for loaded in source.apps for problem in _content_problems(loaded)]
    if problems:
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
    """Show what would change and why, writing nothing. Exit 0: nothing, 2: changes, 1: an error.

    Example: acaops plan desired_state/ -o json
    """
    _loaded(folder)
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=allow)
    _quiet_logs()
    raise typer.Exit(_run(_plan(chosen, output=output)))


@app.command()
def once(
    folder: Folder = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    allow: Allow = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for everything to settle.")] = 3600.0,
    write_config: Annotated[bool, typer.Option(help=f"Write {CONFIG} when an app serves.")] = False,
) -> None:
    """Converge with live progress, then exit: 0 when every object is Ready.

    Example: acaops once desired_state/ --cloud https://127.0.0.1:8443
    """
    _loaded(folder)
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=allow)
    _quiet_logs()
    raise typer.Exit(_run(_once(chosen, seconds=timeout, write_config=write_config)))


@app.command()
def run(
    folder: Folder = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    allow: Allow = None,
    host: Annotated[str, typer.Option(help="Where health, status and metrics are served.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 8080,
    log_level: LogLevel = "info",
    write_config: Annotated[bool, typer.Option(help=f"Write {CONFIG} when an app serves.")] = False,
) -> None:
    """The daemon: watch, diff, reconcile, until SIGTERM or Ctrl-C.

    Example: acaops run desired_state/ --allow 00000000-0000-0000-0000-000000000000/rg-phi3
    """
    chosen = replace(_settings(folder, cloud=cloud, inventory=inventory, allow=allow), host=host, port=port)
    try:
        logs.configure_stderr(level=log_level, form="auto", environ=os.environ)
    except ValueError as error:
        _refuse([str(error)])
    raise typer.Exit(_run(_daemon(chosen, write_config=write_config)))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One object's name [default: all].")] = None,
    folder: Annotated[Path, typer.Option(help="Looked at where no daemon answers.")] = DESIRED,
    cloud: Cloud = None,
    inventory: Inventory = "default",
    url: Annotated[str, typer.Option(help="The daemon's address.")] = "http://127.0.0.1:8080",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every two seconds.")] = False,
    output: Output = "text",
) -> None:
    """Ready, Reconciling or Stalled, with release, commit and endpoint: the daemon's word, or a read-only pass.

    Example: acaops status phi3-chat -o json
    """
    _quiet_logs()
    chosen = _settings(folder, cloud=cloud, inventory=inventory, allow=None)
    raise typer.Exit(_run(_status(chosen, url=url, name=name, watch=watch, output=output)))


@app.command()
def demo(
    folder: Folder = DESIRED,
    time_scale: Annotated[float, typer.Option(help="How much faster than Azure provisioning goes.")] = 20.0,
    port: Annotated[int, typer.Option(help="The local Azure's port; 0 for any.")] = 8443,
    status_port: Annotated[int, typer.Option(help="The controller's status port.")] = 8080,
    adapter: Annotated[bool, typer.Option(hidden=True)] = True,
) -> None:
    """A local Azure, the controller and a served fine-tuned model, in one command.

    Without a terminal it ends once the model answered; with one it stays until Ctrl-C.
    """
    from controller import demo as demonstration

    source = _loaded(folder)
    chosen = replace(_settings(folder, cloud=None, inventory="default", allow=None), port=status_port)
    stay = sys.stdout.isatty()
    show = demonstration.Demo(chosen, source, time_scale=time_scale, azure_port=port, config=CONFIG, stay=stay)
    raise typer.Exit(_run(show.run()))


@local.command("up")
def local_up(
    state: Annotated[Path, typer.Option(help="Where it keeps its state.")] = STATE,
    port: Annotated[int, typer.Option(help="Its port; 0 for any.")] = 8443,
    time_scale: Annotated[float, typer.Option(help="Divides recorded provisioning times; 0: at once.")] = 20.0,
) -> None:
    """Start the local Azure and print the environment for az, the SDKs and acaops.

    Example: eval "$(acaops local up)"
    """
    lifecycle = _lifecycle()
    with _told(lifecycle.LifecycleError):
        server = lifecycle.up(state, port=port, time_scale=time_scale)
    for key, value in lifecycle.environment(server).items():
        typer.echo(f"export {key}={_quoted(value)}")
    typer.echo(f"# local Azure at {server.url}, state in {state}", err=True)


@local.command("down")
def local_down(state: Annotated[Path, typer.Option(help="Where it keeps its state.")] = STATE) -> None:
    """Stop the local Azure; its state stays."""
    lifecycle = _lifecycle()
    with _told(lifecycle.LifecycleError):
        stopped = lifecycle.down(state)
    typer.echo("stopped" if stopped else "it was not running")


@local.command("reset")
def local_reset(state: Annotated[Path, typer.Option(help="Where it keeps its state.")] = STATE) -> None:
    """Stop the local Azure and remove its state: every resource and every share in it."""
    lifecycle = _lifecycle()
    with _told(lifecycle.LifecycleError):
        lifecycle.reset(state)
    typer.echo("stopped, state removed")


async def _plan(chosen: settings.Settings, *, output: str) -> int:
    worst, plans = 0, {}
    async with assembly.controller(chosen) as one:
        source = manifest.load(chosen.folder)
        for key in source.keys:
            try:
                plans["/".join(key)] = (await one.reconciler.look(source, key)).plan
            except (outcome.OutcomeError, content.ContentError) as error:
                views.problems(views.console(sys.stderr), [f"{'/'.join(key)}: {error}"])
                worst = 1
    if output == "json":
        typer.echo(json.dumps({name: render.as_json(one) for name, one in plans.items()}, indent=2))
    else:
        for line in (line for name, one in plans.items() for line in render.lines(name, one)):
            typer.echo(line)
        steps = [step for one in plans.values() for step in one.steps if step.action]
        typer.echo(f"{len(steps)} to write" if steps else "nothing to change")
    stopped = any(isinstance(step.blocked, outcome.Stalled) for one in plans.values() for step in one.steps)
    return 1 if worst or stopped else 2 if any(one.pending for one in plans.values()) else 0


async def _once(chosen: settings.Settings, *, seconds: float, write_config: bool) -> int:
    console = views.console(sys.stderr)
    stop = asyncio.Event()
    began = time.monotonic()
    async with assembly.controller(chosen) as one:
        with views.Progress(console) as progress, loop.signals(stop.set, _leave):
            one.statuses.subscribe(lambda status: progress.update(status.as_json()))
            await one.loop.load()
            settled = await assembly.until_settled(one, seconds=seconds, stop=stop)
        await one.loop.close()
        ready = settled and all(loop.settled(status) for status in one.statuses.snapshot().objects)
        if write_config and ready:
            await _write_config(one)
        _summary(one, seconds=time.monotonic() - began)
    if not ready:
        _explain(one, settled=settled, interrupted=stop.is_set())
    return 0 if ready else 1


async def _daemon(chosen: settings.Settings, *, write_config: bool) -> int:
    stop = asyncio.Event()
    try:
        async with assembly.controller(chosen) as one, assembly.serving(one, chosen):
            with loop.signals(stop.set, _leave):
                if write_config:
                    one.statuses.subscribe(_config_writer(one))
                await one.loop.load()
                async with assembly.watching(one, chosen):
                    await stop.wait()
    except http.ServeError as error:
        views.problems(views.console(sys.stderr), [str(error)])
        return 1
    return 0


async def _status(chosen: settings.Settings, *, url: str, name: str | None, watch: bool, output: str) -> int:
    console = views.console(sys.stdout)
    while True:
        told = await _ask(url) or await _look(chosen)
        if name is not None:
            told = told | {"objects": [one for one in told["objects"] if one["name"] == name]}
            if not told["objects"]:
                _refuse([f"no object is called {name}"])
        if output == "json":
            typer.echo(json.dumps(told, indent=2))
        else:
            if watch:
                console.clear()
            views.problems(console, told["source"]["problems"])
            console.print(views.status_table(told))
        if not watch:
            return 0 if all(_is_ready(one) for one in told["objects"]) else 1
        await asyncio.sleep(2)


async def _ask(url: str) -> dict[str, Any] | None:
    """What the daemon says, None where none answers."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            async with session.get(f"{url.rstrip('/')}/status") as answer:
                told: dict[str, Any] = await answer.json()
                return told
    except (aiohttp.ClientError, TimeoutError):
        return None


async def _look(chosen: settings.Settings) -> dict[str, Any]:
    """A read-only pass over every object, told in the daemon's shape."""
    source = _loaded(chosen.folder)
    async with assembly.controller(chosen) as one:
        for key in source.keys:
            await one.reconciler.observe(source, key)
        one.statuses.source = replace(one.statuses.source, revision=source.revision)
        return dict(one.statuses.snapshot().as_json())


def _is_ready(told: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in told["conditions"])


def _summary(one: assembly.Controller, *, seconds: float) -> None:
    for status in one.statuses.snapshot().objects:
        if status.endpoint:
            typer.echo(f"{status.kind}/{status.name}  {status.endpoint}  release {status.release}")
    typer.echo(f"writes: {one.cloud.writes.arm} to ARM, {one.cloud.writes.share} to the share; {seconds:.1f} s")


def _explain(one: assembly.Controller, *, settled: bool, interrupted: bool) -> None:
    lines = [
        f"{status.kind}/{status.name}: {summarize.bounded(status.last_error or 'not ready yet')}"
        for status in one.statuses.snapshot().objects
        if not loop.settled(status)
    ]
    if not settled:
        lines.append("interrupted; run it again to go on" if interrupted else "timed out; run it again to go on")
    views.problems(views.console(sys.stderr), lines)


def _config_writer(one: assembly.Controller) -> store.Subscriber:
    known: set[str | None] = set()
    pending: set[asyncio.Task[None]] = set()

    def look(status: store.ObjectStatus) -> None:
        if status.kind == "InferenceApp" and loop.settled(status) and status.endpoint not in known:
            known.add(status.endpoint)
            task = asyncio.get_running_loop().create_task(_write_config(one))
            pending.add(task)
            task.add_done_callback(pending.discard)

    return look


async def _write_config(one: assembly.Controller) -> None:
    source = one.loop.source
    if source is None or not source.apps:
        return
    view: objects.View = await one.reconciler.look(source, ("InferenceApp", source.apps[0].object.metadata.name))
    assembly.write_config(CONFIG, assembly.config(source, view=view, app=source.apps[0].object))


def _settings(folder: Path, *, cloud: str | None, inventory: str, allow: list[str] | None) -> settings.Settings:
    if cloud is not None and not cloud.startswith("https://"):
        _refuse([f"--cloud {cloud}: the address must begin with https://"])
    return settings.Settings(folder, cloud=cloud, inventory=inventory, allow=tuple(allow or ()))


def _loaded(folder: Path) -> manifest.Source:
    try:
        return manifest.load(folder)
    except manifest.LoadError as error:
        _refuse([str(problem) for problem in error.problems])


def _content_problems(loaded: manifest.LoadedApp) -> list[str]:
    try:
        content.collect(loaded.contents, memory={})
    except content.ContentError as error:
        return [f"{loaded.file}:{loaded.line}: {problem}" for problem in error.problems]
    return []


def _refuse(lines: list[str]) -> NoReturn:
    views.problems(views.console(sys.stderr), lines)
    raise typer.Exit(1)


def _quiet_logs() -> None:
    logs.configure_stderr(level="error", form="auto", environ=os.environ)


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(main)
    except KeyboardInterrupt:
        return 130


def _leave() -> None:
    """The second signal: leave at once. Azure goes on with what was begun; the next start finds it."""
    os._exit(130)


def _lifecycle() -> Any:
    try:
        from infra.local_azure import lifecycle
    except ImportError as error:
        _refuse([f"the local Azure isn't installed ({error.name} is missing): pip install 'acaops[local]'"])
    return lifecycle


@contextlib.contextmanager
def _told(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        _refuse([str(error)])


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)
