"""Bad input is told by file, line and column with the value and the remedy, and nothing is asked of Azure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import YAML, Command, Served, State

ENVIRONMENT, APP = YAML.split("---\n")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("before", "after", "place", "told"),
    [
        pytest.param(
            "  commands:", "  comands:", "17:3", "unknown field spec.comands, did you mean 'commands'?", id="field"
        ),
        pytest.param("maxReplicas: 1", "maxReplicas: many", "19:40", "spec.scale.maxReplicas: ", id="type"),
        pytest.param("environmentRef: west", "environmentRef: east", "13:19", "'east'", id="environment"),
        pytest.param("{name: chat}", "{name: Chat}", "11:18", "lower-case", id="name"),
        pytest.param("path: ../inference", "path: ../missing", "18:20", "doesn't exist", id="content"),
        pytest.param("path: ../inference", "path: ../linked", "18:20", "symbolic link", id="linked content"),
        pytest.param("path: ../inference", "path: ../../other", "18:20", "leaves", id="content outside"),
        pytest.param(
            "  commands:",
            "  secrets: [{name: keys, value: hunter2}]\n  commands:",
            "17:33",
            "secrets never stand in YAML: name an environment variable or a file",
            id="secret",
        ),
        pytest.param(
            "  commands:",
            "  model: {base: ../../etc}\n  commands:",
            "17:17",
            "'../../etc' must be a relative POSIX path that Azure Files can hold",
            id="model",
        ),
        pytest.param(
            "  commands:",
            f"  model: {{base: m, baseDigest: 'sha256:{'0' * 64}'}}\n  commands:",
            "17:32",
            "spec.model.baseDigest: is compared by the release's check: add rollout: {check: {path: /readyz}}",
            id="digest",
        ),
        pytest.param(
            "  commands:",
            "  model: {base: models/phi}\n  env: [{name: BASE_MODEL_DIR, value: /mount/models/phi}]\n  commands:",
            "18:16",
            "'BASE_MODEL_DIR' follows from spec.model at",
            id="model and env",
        ),
        pytest.param("rg-cli", "{", "8:1", "", id="syntax"),
    ],
)
def test_a_wrong_value(
    acaops: Command, azure: Served, state: State, *, before: str, after: str, place: str, told: str
) -> None:
    """Where it stands, and what to do; the same words from every command that reads the folder."""
    (state.content.parent / "linked").symlink_to(state.content)
    state.change(before, after)

    refused = acaops("once", state.folder)

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"error: {state.file}:{place}: " in refused.stderr
    assert told in refused.stderr
    assert "hunter2" not in refused.stderr
    for command in ("plan", "validate"):
        assert acaops(command, state.folder).output == refused.output
    assert azure.requests == []


def test_two_objects_of_one_name(acaops: Command, azure: Served, state: State) -> None:
    """Both places are told."""
    state.write(f"{YAML}---\n{APP}")
    refused = acaops("once", state.folder)
    assert refused.exit_code == 1
    assert f"error: {state.file}:23:18: InferenceApp chat is already at {state.file}:9" in refused.stderr
    assert azure.requests == []


def test_two_objects_of_one_resource(acaops: Command, azure: Served, state: State) -> None:
    """Also where the name comes from a default."""
    state.write(f"{YAML}---\n{APP.replace('{name: chat}', '{name: other}')}")
    refused = acaops("once", state.folder)
    assert refused.exit_code == 1
    message = f"comes to the same resource as InferenceApp chat at {state.file}:9: /subscriptions/"
    assert f"error: {state.file}:25:3: {message}" in refused.stderr
    assert azure.requests == []


def test_all_problems_are_told_at_once(acaops: Command, state: State) -> None:
    """In the order of their places, a line each."""
    state.change("rg-cli", "rg-cli.")
    state.change("maxReplicas: 1", "maxReplicas: 0")
    lines = acaops("validate", state.folder).stderr.splitlines()
    assert [line.removeprefix(f"error: {state.file}:").partition(": ")[0] for line in lines] == ["6:18", "19:40"]


def test_content_that_leads_out_of_its_folder(acaops: Command, azure: Served, state: State, tmp_path: Path) -> None:
    """A symbolic link to somebody's key must not be published, nor the rest without it."""
    (tmp_path / "id_rsa").write_text("private")
    (state.content / "key").symlink_to(tmp_path / "id_rsa")
    for command in ("once", "plan", "validate"):
        refused = acaops(command, state.folder)
        assert refused.exit_code == 1
        message = "a symbolic link that leads out of the folder"
        assert refused.stderr == f"error: {state.file}:9:1: {state.content}/key: {message}\n"
    assert azure.requests == []


def test_a_secret_without_a_value(acaops: Command, azure: Served, state: State) -> None:
    """The variable is named; valid all the same, for where it is checked it needn't be known."""
    state.change("  commands:", "  secrets: [{name: keys, fromEnv: API_KEYS}]\n  commands:")
    acaops.env["API_KEYS"] = None
    for command in ("once", "plan"):
        refused = acaops(command, state.folder)
        assert refused.exit_code == 1
        message = "secret keys: the environment variable API_KEYS isn't set"
        assert refused.stderr == f"error: {state.file}:9:1: {message}\n"
    assert azure.requests == []
    assert acaops("validate", state.folder).exit_code == 0


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_a_folder_without_desired_state(acaops: Command, azure: Served, tmp_path: Path, *, folder: str) -> None:
    """Never read as "delete everything", nor as "all is well"."""
    (tmp_path / "empty").mkdir()
    refused = acaops("once", tmp_path / folder)
    assert refused.exit_code == 1
    assert f"error: {tmp_path / folder}:1:1: no " in refused.stderr
    assert "nothing is applied and nothing is deleted" in refused.stderr
    assert azure.requests == []


def test_a_large_file(acaops: Command, state: State) -> None:
    """Not even read to its end: aliases might make any size of it."""
    for text in (YAML + "#" * (1024 * 1024), "a: &a [x]\nb: [" + "*a, " * 1_250_000 + "]\n"):
        state.write(text)
        refused = acaops("validate", state.folder)
        assert (refused.exit_code, refused.stderr) == (1, f"error: {state.file}:1:1: larger than 1024 KiB\n")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &a [x]\nb: [" + "*a, " * 250_000 + "]\n", id="as many as a file holds"),
        pytest.param(
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
            id="billion laughs",
        ),
    ],
)
def test_aliases_without_end(state: State, *, text: str) -> None:
    """Refused in a moment and in bounded memory, whatever they would expand to."""
    state.write(text)
    # The child's own peak: that of a process includes what it was forked from.
    code = (
        "import atexit, resource, sys; from controller import __main__\n"
        "used = lambda: next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, used().split()[1]))\n"
        "__main__.main()\n"
    )
    command = [sys.executable, "-c", code, "validate", str(state.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.startswith(f"error: {state.file}:1:1: ")) == (1, True)
    seconds, kibibytes = done.stdout.split()
    assert float(seconds) < 10
    assert int(kibibytes) < 400 * 1024  # the command alone takes a third


def test_valid_input(acaops: Command, azure: Served, state: State) -> None:
    """Says how much there is, and asks nobody."""
    told = acaops("validate", state.folder)
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith(f"{state.folder}: 2 objects, valid (files:")
    assert azure.requests == []
