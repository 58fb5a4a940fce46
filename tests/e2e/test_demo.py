"""`acaops demo` with the trained model, as a person and as a pipeline start it. It leaves no process behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from infra import finetuning
from tests.e2e import running

ENDPOINT = re.compile(r"(http://([\w.-]+\.localhost):(\d+))\s+ready after (\d+\.\d) s")
CTRL_C = b"\x03"
COMMAND = (*running.ACAOPS, "demo", str(running.ROOT / "desired_state"))
OPTIONS = ("--port", "0", "--status-port", "0", "--time-scale", "0")

pytestmark = [
    pytest.mark.timeout(400),  # where no model is in the cache yet, one is trained
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc"),
]


@pytest.fixture
def env(trained: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which the model is in the cache, and by which every process of the demo is known."""
    cache = tmp_path / "cache" / "acaops"
    cache.mkdir(parents=True)
    (cache / finetuning.cache_key()).symlink_to(trained, target_is_directory=True)
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "ACAOPS_", "API_KEYS"))
    }
    # The demo's own folder goes under TMPDIR, and its containers are marked with their folder.
    yield plain | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(running.ROOT),
        "TERM": "xterm",
    }
    for pid in running.processes(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


def test_in_a_pipeline_it_ends_once_the_model_answered(env: dict[str, str], tmp_path: Path) -> None:
    """Exit status 0, with the answer, the address, and the time it took; nothing is left."""
    done = subprocess.run(
        [*COMMAND, *OPTIONS],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "\n< Arr!" in done.stdout
    assert ENDPOINT.search(done.stdout) is not None, done.stdout
    assert not running.processes(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_at_a_terminal_it_stays_until_ctrl_c(env: dict[str, str], tmp_path: Path) -> None:
    """Any OpenAI client may stream from it meanwhile; Ctrl-C ends every process and exits 0."""
    with Terminal([*COMMAND, *OPTIONS], cwd=tmp_path, env=env) as terminal:
        found = terminal.until(re.compile(ENDPOINT.pattern + r".*Ctrl-C ends it all\.", re.DOTALL), within=120)
        assert len(running.processes(str(tmp_path))) >= 3  # the controller, the local Azure, the served app

        words = stream(host=found[2], port=int(found[3]))
        assert len(words) > 1
        assert "".join(words).startswith("Arr!")

        terminal.type(CTRL_C)
        assert terminal.ended(within=20) == 0
    assert "Traceback" not in terminal.text
    assert not running.processes(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def stream(*, host: str, port: int) -> list[str]:
    """The pieces of one streamed answer. The address is given as a resolver without `.localhost` would need it."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="none", default_headers={"Host": f"{host}:{port}"}
    ) as client:
        (model, *_) = client.models.list().data
        chunks = client.chat.completions.create(
            model=model.id,
            messages=[{"role": "user", "content": "Count down from 5."}],
            max_tokens=64,
            temperature=0,
            stream=True,
        )
        return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]


class Terminal:
    """A process that has a terminal of its own; `text` is all that it showed."""

    def __init__(self, command: list[str], *, cwd: Path, env: dict[str, str]) -> None:
        self.text = ""
        self._master, slave = os.openpty()
        self._process = subprocess.Popen(command, cwd=cwd, env=env, preexec_fn=lambda: os.login_tty(slave))
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def until(self, pattern: re.Pattern[str], *, within: float) -> re.Match[str]:
        """The match, once it is shown."""
        end = time.monotonic() + within
        while (found := pattern.search(self.text)) is None:
            assert self._process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            self._read(1.0)
        return found

    def ended(self, *, within: float) -> int:
        """The exit status. What is shown must be read, or the process would wait for a reader."""
        end = time.monotonic() + within
        while self._process.poll() is None:
            assert time.monotonic() < end, self.text
            self._read(0.05)
        return int(self._process.returncode)

    def _read(self, seconds: float) -> None:
        if select.select([self._master], [], [], seconds)[0]:
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:  # Linux says so when the other end is closed
                time.sleep(0)
