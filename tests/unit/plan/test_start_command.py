"""The container's command, run by a real bash: it unpacks what was released, whole, or nothing; then it serves."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.model import content, tags
from controller.plan import template
from controller.sources import content as folders
from tests.unit.plan import wanted

OWNER = tags.Owner("prod", "InferenceApp", "phi3-chat")

pytestmark = pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs coreutils, as the container does")


@dataclass(frozen=True)
class Machine:
    """A container's disk and the share mounted in it, in a folder of the test's own."""

    folder: Path
    files: content.Content

    @property
    def archive(self) -> Path:
        return self.folder / "mount" / template.bundle_path(OWNER, self.files.digest)

    @property
    def unpacked(self) -> Path:
        return self.folder / "disk" / "acaops" / self.files.digest

    def command(self, *commands: str, release: str = "Bundle", files: content.Content | None = None) -> list[str]:
        """The rendered command, the mount moved into the folder."""
        app = wanted.app(commands=list(commands), release=release)
        made = template.command(app, owner=OWNER, files=files or self.files)
        return [*made[:2], made[2].replace("/mount", str(self.folder / "mount"))]

    @property
    def env(self) -> dict[str, str]:
        """The disk is where temporary files go."""
        (self.folder / "disk").mkdir(exist_ok=True)
        return {**os.environ, "TMPDIR": str(self.folder / "disk")}

    def start(self, *commands: str, release: str = "Bundle") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*commands, release=release),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=self.env,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """The share holds the bundle of two files, one of them executable."""
    code = tmp_path / "code"
    (code / "sub dir").mkdir(parents=True)
    (code / "serve.sh").write_text('#!/bin/sh\necho served "$1"\n')
    (code / "serve.sh").chmod(0o755)
    (code / "sub dir" / "model.txt").write_text("weights\n")
    made = Machine(tmp_path, folders.collect([(code, "inference")], top=None, memory={}))
    made.archive.parent.mkdir(parents=True)
    folders.bundle(made.files, made.archive)
    return made


def test_a_bundle_is_unpacked_and_run(machine: Machine) -> None:
    """In its folder, with its modes; comment lines in the manifest are no obstacle."""
    assert "#x inference/serve.sh" in machine.files.manifest

    done = machine.start("cat 'inference/sub dir/model.txt'", "inference/serve.sh well")

    assert (done.returncode, done.stdout, done.stderr) == (0, "weights\nserved well\n", "")
    assert sorted(os.listdir(machine.folder / "disk" / "acaops")) == [machine.files.digest]


def test_a_second_start_uses_what_is_there(machine: Machine) -> None:
    """Even with the share's copy gone."""
    machine.start("true")
    machine.archive.unlink()

    done = machine.start("cat 'inference/sub dir/model.txt'")

    assert (done.returncode, done.stdout) == (0, "weights\n")


def _rewritten(
    change: Callable[[tarfile.TarInfo, bytes], bytes], extra: tarfile.TarInfo | None = None
) -> Callable[[bytes], bytes]:
    def rewrite(data: bytes) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w:gz") as new:
            for member in old.getmembers():
                file = old.extractfile(member)
                assert file is not None
                changed = change(member, file.read())
                member.size = len(changed)
                new.addfile(member, io.BytesIO(changed))
            if extra is not None:
                new.addfile(extra, io.BytesIO())
        return out.getvalue()

    return rewrite


def _same(_: tarfile.TarInfo, data: bytes) -> bytes:
    return data


def _link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
    return member


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(_rewritten(lambda member, data: data.replace(b"weights", b"Weights")), id="other bytes"),
        pytest.param(
            _rewritten(lambda member, data: data + b"# more\n" if "manifest" in member.name else data),
            id="other manifest",
        ),
        pytest.param(_rewritten(_same, tarfile.TarInfo("inference/sitecustomize.py")), id="one file more"),
        pytest.param(_rewritten(_same, _link("inference/extra")), id="one link more"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut short"),
        pytest.param(lambda data: gzip.compress(b""), id="empty"),
        pytest.param(None, id="missing"),
    ],
)
def test_another_bundle_is_not_run(machine: Machine, tamper: Callable[[bytes], bytes] | None) -> None:
    """The start fails, says why, and leaves nothing that the next start would take for the release."""
    if tamper is None:
        machine.archive.unlink()
    else:
        machine.archive.write_bytes(tamper(machine.archive.read_bytes()))

    done = machine.start("echo ran")

    assert done.returncode != 0
    assert "ran" not in done.stdout
    assert done.stderr
    assert not machine.unpacked.exists()


def test_the_loser_of_two_starts_uses_the_winners_copy(machine: Machine) -> None:
    """Both unpack aside; the second to finish finds the release there and throws its own away."""
    made = machine.command("cat 'inference/sub dir/model.txt'")
    won = made[2].replace("  chmod 755", f"  cp -r . {machine.unpacked}\n  chmod 755")

    done = subprocess.run([*made[:2], won], capture_output=True, text=True, timeout=20, check=False, env=machine.env)

    assert (done.returncode, done.stdout) == (0, "weights\n")
    assert os.listdir(machine.folder / "disk" / "acaops") == [machine.files.digest]


@pytest.mark.parametrize(
    ("commands", "code", "said"),
    [
        (["echo one", "echo two"], 0, "one\ntwo\n"),
        (["false", "echo two"], 1, ""),
        (["false || echo saved", "echo two"], 0, "saved\ntwo\n"),
        (["echo one; false", "echo two"], 1, "one\n"),
        (["echo one # a remark", "echo two"], 0, "one\ntwo\n"),
        (["true &", "echo two"], 0, "two\n"),
        (["X=1", "echo $X ${X}2"], 0, "1 12\n"),
        (["true", "echo $(echo inner)"], 0, "inner\n"),
        (["export X=1", "echo $X"], 0, "1\n"),
        (["cd inference", "cat serve.sh | head -n 1"], 0, "#!/bin/sh\n"),
        (["if true; then echo yes; fi", "exec echo two"], 0, "yes\ntwo\n"),
        (["X=1 sh -c 'echo $X'"], 0, "1\n"),
        (["echo 'a  b' \"c\""], 0, "a  b c\n"),
        (["echo one && exit 3"], 3, "one\n"),
    ],
)
def test_commands_run_one_after_the_other(machine: Machine, commands: list[str], code: int, said: str) -> None:
    """As they were written, whatever stands in one; the first that fails is the last."""
    done = machine.start(*commands)

    assert (done.returncode, done.stdout) == (code, said)


@pytest.mark.parametrize("last", ["sleep 60", "exec sleep 60", "X=1 sleep 60"])
def test_the_last_command_gets_the_signal(machine: Machine, last: str) -> None:
    """It is the container's process itself, no shell between."""
    running = subprocess.Popen(machine.command("echo ready", last), stdout=subprocess.PIPE, text=True, env=machine.env)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        name = Path(f"/proc/{running.pid}/comm")
        while name.exists() and name.read_text() != "sleep\n" and running.poll() is None:
            os.sched_yield()
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=20) == -signal.SIGTERM
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


def test_a_mirror_runs_where_the_share_is_mounted(machine: Machine) -> None:
    """The commands as given: nothing is unpacked."""
    (machine.folder / "mount" / "model.txt").write_text("mine\n")

    done = machine.start("cat model.txt", release="Mirror")

    assert (done.returncode, done.stdout) == (0, "mine\n")
    assert not (machine.folder / "disk" / "acaops").exists()


def test_without_content_nothing_is_unpacked() -> None:
    """The image brings all it needs."""
    made = template.command(wanted.app(commands=["serve"]), owner=OWNER, files=content.Content((), ()))

    assert made == ["/bin/bash", "-c", "cd /mount && exec serve"]
