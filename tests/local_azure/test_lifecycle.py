"""The local Azure as a process of its own: up, found, down, reset; and the command that runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local_azure import lifecycle

ROOT = str(Path(lifecycle.__file__).resolve().parents[2])


def _answers(running: lifecycle.Running) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", running.port)) == 0


def test_up_is_idempotent_and_down_ends_it(tmp_path) -> None:
    """The second up finds the first; the state is private; down says whether there was one."""
    state = tmp_path / "azure"
    assert lifecycle.running(state) is None
    first = lifecycle.up(state, port=0, time_scale=0)
    try:
        assert lifecycle.up(state, port=0, time_scale=0) == first
        assert lifecycle.running(state) == first
        assert _answers(first)
        assert (state / "server.json").stat().st_mode & 0o777 == 0o600
        with pytest.raises(lifecycle.LifecycleError, match=f"already runs on port {first.port}"):
            lifecycle.up(state, port=1, time_scale=0)
        with pytest.raises(lifecycle.LifecycleError, match="stop it before --scenario"):
            lifecycle.up(state, port=0, time_scale=0, more=("--scenario", "x.yaml"))
    finally:
        assert lifecycle.down(state)
    assert not lifecycle.down(state)
    assert not _answers(first)
    assert lifecycle.running(state) is None


def test_a_killed_server_is_replaced_on_the_same_port_with_the_same_state(tmp_path) -> None:
    """What it left behind (process id, lock file) fools nobody."""
    state = tmp_path / "azure"
    first = lifecycle.up(state, port=0, time_scale=0)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert (state / "server.json").exists()
    assert lifecycle.running(state) is None
    second = lifecycle.up(state, port=0, time_scale=0)
    try:
        assert second.pid != first.pid
        assert (second.url, second.tenant, second.client_id) == (first.url, first.tenant, first.client_id)
    finally:
        lifecycle.reset(state)
    assert not state.exists()


def test_the_environment_leads_clients_to_the_server(tmp_path) -> None:
    """A stock DefaultAzureCredential and management client work in it, without a line of configuration."""
    script = (
        "import asyncio, os\n"
        "from azure.identity.aio import DefaultAzureCredential\n"
        "from azure.mgmt.resource.resources.aio import ResourceManagementClient\n"
        "async def main():\n"
        "    url = os.environ['ACAOPS_CLOUD']\n"
        "    async with DefaultAzureCredential() as credential, ResourceManagementClient(\n"
        "        credential, os.environ['AZURE_SUBSCRIPTION_ID'], base_url=url,\n"
        "        credential_scopes=[url + '/.default']) as client:\n"
        "        group = await client.resource_groups.create_or_update('lab', {'location': 'westus3'})\n"
        "        print(group.name)\n"
        "asyncio.run(main())\n"
    )
    state = tmp_path / "azure"
    server = lifecycle.up(state, port=0, time_scale=0)
    try:
        environment = {**os.environ, **lifecycle.environment(server)}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    finally:
        lifecycle.down(state)
    assert (done.stdout.strip(), done.stderr) == ("lab", "")


def test_a_port_in_use_is_said_with_its_number(tmp_path) -> None:
    """Not as a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(lifecycle.LifecycleError, match=rf"port {port} .* in use") as refused:
            lifecycle.up(tmp_path / "azure", port=port, time_scale=0)
    assert "Traceback" not in str(refused.value)


def test_a_reset_spares_a_folder_that_is_no_state(tmp_path) -> None:
    """A mistyped path must not cost anybody's files."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(lifecycle.LifecycleError, match="not removed"):
        lifecycle.reset(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


async def test_a_child_lives_as_long_as_its_block(tmp_path) -> None:
    """And one state folder has one server at a time."""
    state = tmp_path / "azure"
    async with lifecycle.serve_child(state, port=0, time_scale=0, processes=False) as server:
        assert _answers(server)
        with pytest.raises(lifecycle.LifecycleError, match="another local Azure"):
            async with lifecycle.serve_child(state, port=0, time_scale=0, processes=False):
                pass
    assert lifecycle.running(state) is None


def test_a_child_ends_with_its_parent_even_a_killed_one(tmp_path) -> None:
    """The demo must leave nothing behind."""
    state = tmp_path / "azure"
    serve = [sys.executable, "-m", "infra.local_azure", "serve", "--state", str(state), "--port", "0"]
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({[*serve, '--no-processes', '--exit-with-parent']!r}, stdout=subprocess.PIPE)\n"
        "sys.stdout.write(child.stdout.readline().decode())\n"
        "sys.stdout.flush()\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    ready = json.loads(parent.stdout.readline())
    server = lifecycle.running(state)
    assert (ready["event"], ready["url"]) == ("ready", server.url)
    parent.kill()
    parent.wait()
    # The pipe that the server inherited from its parent ends with the server.
    assert parent.stdout.read() == b""
    assert lifecycle.down(state) in (True, False)
    assert not _answers(server)
    parent.stdin.close()
    parent.stdout.close()


@pytest.mark.parametrize(
    "wrong", [["--port", "70000"], ["--time-scale", "-1"], ["--time-scale", "inf"], ["--subscription", "mine"]]
)
async def test_wrong_arguments_are_refused_by_name(tmp_path, wrong) -> None:
    """With exit code 2, before anything is written."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "infra.local_azure", "serve", "--state", str(tmp_path / "azure"), *wrong),
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    _, said = await child.communicate()
    assert child.returncode == 2
    assert f"argument {wrong[0]}" in said.decode()
    assert not (tmp_path / "azure").exists()
