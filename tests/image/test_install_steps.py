"""The controller's image, without an engine: its own install steps in an environment of their own, then its entrypoint.

The absolute paths of the image lie below a temporary folder; Debian packages and users are the machine's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.image.dockerfile import ROOT, VERSION, Stage, build_context, stages

NOWHERE = "/proc/nowhere"
"""A home that even root can't make."""

STATE = """\
apiVersion: acaops/v1
kind: Environment
metadata: {name: west}
spec: {subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: rg-image, location: westus3}
---
apiVersion: acaops/v1
kind: InferenceApp
metadata: {name: chat}
spec:
  environmentRef: west
  image: docker.io/library/python:3.12
  workloadProfileName: Consumption
  resources: {cpu: 0.5, memory: 1Gi}
  commands: [python -m inference]
  content: [{path: ../code, target: inference}]
"""


@dataclass(frozen=True)
class Image:
    """`root` stands for the image's root folder."""

    root: Path
    stage: Stage

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def packages(self) -> Path:
        (found,) = self.place("/opt/acaops").glob("lib/python*/site-packages")
        return found

    def environment(self, **changed: str) -> dict[str, str]:
        """What a container gets, and nothing of this process's."""
        own = self.stage.environment()
        path = own["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin").replace("/opt", str(self.place("/opt")))
        volumes = {name: str(self.place(own[name])) for name in ("TMPDIR", "ACAOPS_CACHE")}
        return {**own, "PATH": path, **volumes, "HOME": NOWHERE, "ACAOPS_CLOUD": "https://127.0.0.1:9", **changed}

    def run(self, *command: str, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment(**changed), cwd=self.root, capture_output=True, text=True, timeout=60
        )

    def files(self) -> set[Path]:
        """All but what lies on a volume."""
        volumes = [self.place("/cache"), self.place("/tmp")]
        found = {path for path in self.root.rglob("*") if path.is_file()}
        return {path for path in found if not any(path.is_relative_to(volume) for volume in volumes)}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The stages `package` and `controller`, done once."""
    made = stages()
    image = Image(tmp_path_factory.mktemp("image"), made["controller"])
    context = tmp_path_factory.mktemp("context")
    build_context(context)
    build(made["package"], image, context)
    (copied,) = [rest for rest in made["controller"].all("COPY") if rest.startswith("--from=package")]
    assert copied.split()[1:] == ["/opt/acaops", "/opt/acaops"]
    shutil.rmtree(image.place("/src"))
    for folder in ("/cache", "/tmp", "/state"):
        image.place(folder).mkdir()
    return image


def build(stage: Stage, image: Image, context: Path) -> None:
    """Its COPY and RUN lines in their order."""
    folder = image.place(stage.last("WORKDIR"))
    folder.mkdir()
    for word, rest in stage.lines:
        if word == "COPY":
            *sources, target = rest.split()
            copy([context / source for source in sources], folder / target)
        elif word == "RUN":
            command = rest.replace("/opt/acaops", str(image.place("/opt/acaops")))
            done = subprocess.run(["/bin/sh", "-ec", command], cwd=folder, env=building(stage), capture_output=True)
            assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def building(stage: Stage) -> dict[str, str]:
    """The stage's environment, with this machine's Python, packages index and pip cache, which only saves time."""
    own = {name: value for name, value in stage.environment().items() if name != "PIP_NO_CACHE_DIR"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, **own, "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}


def copy(sources: Sequence[Path], target: Path) -> None:
    """A folder's content goes into the target, a file under its name into a target that is a folder."""
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target / source.name if target.is_dir() else target)


@pytest.fixture
def state(image: Image) -> Iterator[Path]:
    """A state folder and its content on /state; no git repository anywhere above."""
    folder, code = image.place("/state/desired_state"), image.place("/state/code")
    folder.mkdir()
    code.mkdir()
    (folder / "state.yaml").write_text(STATE)
    (code / "app.py").write_text("print('hello')\n")
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(code)


@dataclass(frozen=True)
class Container:
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def container(image: Image, **changed: str) -> Iterator[tuple[Container, str]]:
    """ENTRYPOINT and CMD on a free port, and that port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    log = image.place("/tmp/log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*image.stage.started(), "--port", port],
            env=image.environment(**changed),
            cwd=image.place(image.stage.last("WORKDIR")),
            executable=image.place("/opt/acaops/bin/acaops"),
            stdout=output,
            stderr=output,
        )
    try:
        yield Container(process, log), port
    finally:
        process.kill()
        process.wait()


def becomes_healthy(image: Image, one: Container, port: str) -> bool:
    """The image's own health check, asked again until it succeeds or the process is gone."""
    return until(
        lambda: image.run(*image.stage.health_check(), ACAOPS_PORT=port).returncode == 0,
        lambda: one.process.poll() is None,
    )


def until(look: Callable[[], bool], hope: Callable[[], bool] = lambda: True) -> bool:
    """Whether `look` comes true within half a minute, while there is hope."""
    end = time.monotonic() + 30
    while time.monotonic() < end and hope():
        if look():
            return True
        time.sleep(0.05)
    return False


def commit(folder: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(folder)]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, capture_output=True)


def knows_its_objects(port: str) -> bool:
    """The state is loaded: its objects have a status. The cloud is out of reach."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
        return {each["name"] for each in json.load(answer)["objects"]} == {"west", "chat"}


def test_only_the_controller_is_installed(image: Image) -> None:
    """Neither the local Azure, nor the served app, nor torch, nor tools; what is reported is its size."""
    names = ("controller", "infra", "inference", "torch", "gradio", "pip", "setuptools", "pytest", "uvicorn")
    asked = f"from importlib.util import find_spec; print([one for one in {names} if find_spec(one)])"
    found = image.run("python", "-c", asked)
    assert found.stdout == "['controller']\n", found.stderr
    size = sum(path.stat().st_size for path in image.packages.rglob("*") if path.is_file())
    print(f"site-packages: {size / 2**20:.0f} MiB")
    assert size < 150 * 2**20


def test_every_package_is_of_the_locked_version(image: Image) -> None:
    """Nothing was resolved to something newer."""
    asked = "import importlib.metadata as m; print(*(f'{d.name.lower()}=={d.version}' for d in m.distributions()))"
    installed = set(image.run("python", "-c", asked).stdout.replace("-", "_").split()) - {f"acaops=={VERSION}"}
    lock = (ROOT / "requirements.lock").read_text().lower().replace("-", "_").split()
    assert installed - set(lock) == set()


def test_it_says_its_version(image: Image) -> None:
    """Without a home, a state folder or a cloud."""
    told = image.run("acaops", "--version")
    assert (told.returncode, told.stdout) == (0, f"acaops {VERSION}\n"), told.stderr


def test_it_runs_until_sigterm(image: Image, state: Path) -> None:
    """The default command on a state folder becomes healthy by the image's own check, writes to volumes only, and
    ends with 0."""
    before = image.files()
    with container(image) as (one, port):
        assert becomes_healthy(image, one, port), one.log.read_text()
        assert until(lambda: knows_its_objects(port)), one.log.read_text()
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(20) == 0, one.log.read_text()
    assert "Traceback" not in one.log.read_text()
    assert before == image.files()


def test_it_runs_without_a_state(image: Image) -> None:
    """What is missing is for the status to tell; a restart would not mend it."""
    with container(image) as (one, port):
        assert becomes_healthy(image, one, port), one.log.read_text()


def test_it_follows_a_repository(image: Image, state: Path, tmp_path: Path) -> None:
    """Named by a variable; what it fetches goes to the cache alone, and no home is needed for it."""
    origin, cache = tmp_path / "origin", tmp_path / "cache"
    shutil.copytree(state.parent, origin)
    commit(origin)
    cache.mkdir()
    before = image.files()
    with container(image, ACAOPS_REPO=origin.as_uri(), ACAOPS_CACHE=str(cache)) as (one, port):
        assert becomes_healthy(image, one, port), one.log.read_text()
        assert until(lambda: knows_its_objects(port)), one.log.read_text()
    assert before == image.files()
    assert any(cache.iterdir())


def test_the_health_check_fails_where_nothing_answers(image: Image) -> None:
    """Else it would never have the container restarted."""
    assert image.run(*image.stage.health_check(), ACAOPS_PORT="9").returncode == 1
