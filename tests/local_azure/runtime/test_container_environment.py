"""What a container's process is given, and what the server keeps to itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from infra.local_azure import replicas
from infra.local_azure.runtime import environment
from tests.local_azure.runtime.scripted_apps import Apps

SERVER_ENV = {"PATH": "/usr/bin", "HOME": "/root"}


def launched(
    apps: Apps,
    *command: str,
    env: dict[str, str] | None = None,
    mounts: dict[str, str] | None = None,
    server: dict[str, str] | None = None,
) -> environment.Launch:
    shares = tuple(replicas.Mount(path, Path(folder), False) for path, folder in (mounts or {}).items())
    container = apps.container(command, env=env, mounts=shares)
    place = environment.Place("app--one-0-a", 21000, Path("/scratch"), Path("/caches"), "marker", True)
    revision = apps.with_container(container, target_port=8080)
    return environment.launch(revision, container, place=place, server={**SERVER_ENV, **(server or {})})


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/mount", "/files"),
        ("/mount/app.py", "/files/app.py"),
        ("cd /mount && python /mount/x.py", "cd /files && python /files/x.py"),
        ("--dir=/mount/models", "--dir=/files/models"),
        ("file:///mount/x", "file:///files/x"),
        ("/mount/data/x", "/data/x"),
        ("/mountain", "/mountain"),
        ("/mount-2", "/mount-2"),
        ("/mount.bak", "/mount.bak"),
        ("/a/mount", "/a/mount"),
        ("${HOME}/mount", "${HOME}/mount"),
    ],
)
def test_a_mount_path_is_replaced_as_a_path_only(apps: Apps, word: str, expected: str) -> None:
    """Whole path segments, the longest mount first, and never inside another path."""
    mounts = {"/mount": "/files", "/mount/data": "/data"}
    launch = launched(apps, "run", word, env={"WHERE": word}, mounts=mounts)
    assert (expected, expected) == (launch.argv[1], launch.env["WHERE"])


@pytest.mark.parametrize(
    "name", ["AZURE_CLIENT_SECRET", "ACAOPS_TOKEN", "SSL_CERT_FILE", "AWS_KEY", "UV_INDEX_PASSWORD"]
)
def test_the_server_s_secrets_stay_with_the_server(apps: Apps, name: str) -> None:
    """Only names on the allow list are inherited."""
    assert name not in launched(apps, "run", server={name: "hidden"}).env


@pytest.mark.parametrize(
    "name", ["OMP_NUM_THREADS", "VIRTUAL_ENV", "XDG_CACHE_HOME", "LD_LIBRARY_PATH", "PIP_INDEX_URL"]
)
def test_what_python_and_torch_need_is_inherited(apps: Apps, name: str) -> None:
    """The interpreter, its caches and its threads are the server's."""
    assert launched(apps, "run", server={name: "kept"}).env[name] == "kept"


def test_the_path_begins_with_the_server_s_python(apps: Apps) -> None:
    """`python` in a command is the interpreter the server runs on."""
    assert f"{Path(sys.executable).parent}{os.pathsep}/usr/bin" == launched(apps, "run").env["PATH"]


def test_the_target_port_is_replaced_in_variables_and_options_and_said(apps: Apps) -> None:
    """PORT, *_PORT and --port get the free port; the same number elsewhere stays."""
    env = {"PORT": "8080", "GRADIO_SERVER_PORT": "8080", "SEED": "8080"}
    launch = launched(apps, "sh", "-c", "serve --port 8080 --seed 8080", "--port", "8080", env=env)
    assert launch.argv[2] == "serve --port 21000 --seed 8080"
    assert launch.argv[3:] == ("--port", "21000")
    assert [launch.env[name] for name in env] == ["21000", "21000", "8080"]
    assert launch.env["CONTAINER_APP_PORT"] == "21000"
    assert any("PORT=8080, GRADIO_SERVER_PORT=8080, --port 8080" in note for note in launch.notes)


def test_platform_variables_are_set_and_win(apps: Apps) -> None:
    """The CONTAINER_APP_* of the platform can't be overridden by the template."""
    env = launched(apps, "run", env={"CONTAINER_APP_NAME": "mine"}).env
    assert (env["CONTAINER_APP_NAME"], env["CONTAINER_APP_REPLICA_NAME"]) == ("app", "app--one-0-a")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("$(NAME)-1", "x-1"), ("$(date)", "$(date)"), ("$$(NAME)", "$(NAME)"), ("$NAME", "$NAME")],
)
def test_references_to_variables_are_expanded_as_kubernetes_does(apps: Apps, word: str, expected: str) -> None:
    """`$(NAME)` is filled in; a shell's own `$(…)` and `$NAME` are left to it."""
    assert expected == launched(apps, "run", word, env={"NAME": "x"}).argv[1]
