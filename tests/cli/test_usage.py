"""How the command is called: help with examples, wrong usage, and the parts that need no desired state."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
from typer import core

from controller import cli
from controller.status import store
from tests.cli.conftest import Command, Served, State

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *("", "validate", "plan", "once", "run", "status", "logs", "reconcile", "delete", "settings", "import", "demo"),
    *("local", "local up", "local down", "local reset"),
    *("rollout", "rollout status", "rollout history", "rollout undo", "rollout retry"),
]


def test_every_command_is_known_here() -> None:
    """So that a new one is tested for its help."""
    below = {"local": command(cli.local), "rollout": command(cli.rollouts)}
    listed = {f"{name} {verb}" for name, group in below.items() for verb in group.commands}
    assert {*command(cli.app).commands, *listed, ""} == set(COMMANDS)


def command(of: typer.Typer) -> core.TyperGroup:
    made = typer.main.get_command(of)
    assert isinstance(made, core.TyperGroup)
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(acaops: Command, *, command: str) -> None:
    """One that can be pasted: its options are the command's own."""
    for option in ("--help", "-h"):
        told = acaops(*command.split(), option)
        assert (told.exit_code, told.stderr) == (0, "")
    example = re.search(r"Example: (?:eval \"\$\()?(acaops .*?)(?:\)\")?\n", told.stdout)
    assert example is not None, told.stdout
    words = shlex.split(example[1])
    assert " ".join(words).startswith(f"acaops {command}".strip())
    for word in words[1:]:
        assert not word.startswith("-") or word in told.stdout


def test_without_arguments_it_helps(acaops: Command) -> None:
    """On standard output, as asked for."""
    assert acaops().stdout == acaops("--help").stdout
    assert acaops("local").stdout == acaops("local", "--help").stdout


def test_the_version(acaops: Command) -> None:
    assert re.fullmatch(r"acaops \d+\.\d+\.\d+\n", acaops("--version").stdout)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("plan --output xml", "'xml' is not one of 'text', 'json'; see acaops plan --help"),
        ("status -o yaml", "'yaml' is not one of 'text', 'json'; see acaops status --help"),
        ("run --log-level loud", "--log-level loud: must be one of debug"),
        ("run --port 70000", "--port 70000: must be 0 to 65535"),
        ("run desired_state --repo /r", "--folder and --repo: the desired state comes from one place"),
        ("plan --ref main", "--ref goes with --repo"),
        ("once --timeout -1", "'--timeout'"),
        ("demo --time-scale -1", "'--time-scale'"),
        ("plan --bogus", "--bogus; see acaops plan --help"),
        ("plann", "No such command 'plann'. Did you mean 'plan'?"),
        ("local upp", "No such command 'upp'"),
        ("plan --inventory ../../other", "--inventory ../../other: must be lower-case letters"),
        ("plan --allow rg-phi3", "--allow rg-phi3: must be SUBSCRIPTION or SUBSCRIPTION/GROUP"),
        ("plan --allow ''", "--allow : must be SUBSCRIPTION"),
    ],
)
def test_wrong_usage(acaops: Command, azure: Served, state: State, *, arguments: str, told: str) -> None:
    """One line, exit status 1: 2 is `plan`'s word for changes."""
    refused = acaops(*shlex.split(arguments))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
    assert azure.requests == []


def test_run_where_its_port_is_taken(acaops: Command, azure: Served, state: State) -> None:
    """The address is named, before anything is asked of Azure."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = acaops("run", state.folder, "--port", str(port))
    assert refused.exit_code == 1
    assert f"error: 127.0.0.1:{port} is in use by another process; choose another port" in refused.stderr
    assert azure.requests == []


class Daemon:
    """Answers every request with `body`."""

    def __init__(self) -> None:
        self.body = b""
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/status" else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_status_is_the_daemons_word(acaops: Command, azure: Served, state: State, daemon: Daemon) -> None:
    """Azure isn't asked; problems of the source are told, and are no success."""
    known = store.ObjectStatus("InferenceApp", "elsewhere", endpoint="https://elsewhere.example")
    source = store.SourceStatus("/srv/state", problems=("/srv/state/a.yaml:3:1: unknown field",))
    daemon.body = json.dumps(store.Snapshot(source, (known,)).as_json()).encode()

    told = acaops("status", "--url", f"{daemon.url}/")

    assert told.exit_code == 1
    assert "elsewhere" in told.stdout
    assert told.stderr == "error: /srv/state/a.yaml:3:1: unknown field\n"
    shown = acaops("status", "elsewhere", "--url", daemon.url, "-o", "json")
    assert json.loads(shown.stdout)["objects"][0]["endpoint"] == "https://elsewhere.example"
    assert acaops("status", "chat", "--url", daemon.url).exit_code == 1
    assert azure.requests == []


def test_status_is_shown_again_until_ctrl_c(daemon: Daemon) -> None:
    """What has changed meanwhile is in the next table; exit status 130."""
    named = [store.ObjectStatus("InferenceApp", name) for name in ("before", "after")]
    first, second = (json.dumps(store.Snapshot(store.SourceStatus("s"), (one,)).as_json()).encode() for one in named)
    daemon.body = first
    with subprocess.Popen(
        [sys.executable, "-m", "controller", "status", "-w", "--url", daemon.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert "before" in next(line for line in watching.stdout if not line.startswith("NAME"))
        daemon.body = second
        assert "after" in next(line for line in watching.stdout if not line.startswith("NAME"))
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 130


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"error": "nothing here"}', b"\xff"])
def test_somebody_elses_answer_is_no_status(
    acaops: Command, azure: Served, state: State, daemon: Daemon, *, body: bytes
) -> None:
    """A pass is made instead, as where nobody answers."""
    daemon.body = body
    assert "west" in acaops("status", "--url", daemon.url).stdout
    assert azure.requests != []


def test_status_of_a_folder_that_does_not_load(acaops: Command, azure: Served, state: State) -> None:
    """Told as a daemon would; Azure isn't asked."""
    state.change("rg-cli", "rg-cli.")
    told = acaops("status", "--url", "http://127.0.0.1:9", "-o", "json")
    assert told.exit_code == 1
    (problem,) = json.loads(told.stdout)["source"]["problems"]
    assert problem.startswith("desired_state/all.yaml:6:18: ")
    assert told.stderr == f"error: {problem}\n"
    assert azure.requests == []


def test_the_local_azure_goes_up_and_down(acaops: Command, tmp_path: Path) -> None:
    """What `up` prints is for a shell to evaluate; `down` keeps the state, `reset` removes it."""
    state = tmp_path / "it's here"
    options = ("--state", state)
    up = acaops("local", "up", *options, "--port", "0", "--time-scale", "0")
    try:
        assert up.exit_code == 0, up.output
        script = f'{up.stdout}\nprintf "%s\\n" "$ACAOPS_CLOUD" "$SSL_CERT_FILE" "$AZURE_CLIENT_SECRET"'
        shell = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
        cloud, ca, secret = shell.stdout.splitlines()
        assert cloud.startswith("https://127.0.0.1:")
        assert Path(ca).is_file()
        assert Path(ca).is_relative_to(state)
        assert secret
        assert up.stderr == f"# local Azure at {cloud}, state in {state}\n"
        assert acaops("local", "up", *options, "--port", "0").stdout == up.stdout
        wrong = acaops("local", "up", *options, "--port", "1")
        assert (wrong.exit_code, wrong.stdout) == (1, "")
        assert "already runs on port" in wrong.stderr

        assert acaops("local", "down", *options).stdout == "stopped\n"
        assert acaops("local", "down", *options).stdout == "it was not running\n"
        assert state.is_dir()
    finally:
        assert acaops("local", "reset", *options).stdout == "stopped, state removed\n"
    assert not os.path.lexists(state)


def test_reset_spares_other_folders(acaops: Command, tmp_path: Path) -> None:
    """A mistyped path must not cost anybody's files."""
    (tmp_path / "thesis.tex").write_text("years of work")
    refused = acaops("local", "reset", "--state", tmp_path)
    assert refused.exit_code == 1
    assert "not removed" in refused.stderr
    assert (tmp_path / "thesis.tex").exists()
