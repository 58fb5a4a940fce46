"""How a program is told to stop, to stop now, or to look again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """\
import asyncio, sys
from controller import signals

signals.SAME_MOMENT = float(sys.argv[1])

async def main():
    with signals.handled(lambda: print("stop", flush=True), again=lambda: print("again", flush=True)):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def program(*, same_moment: float) -> Iterator[subprocess.Popen[str]]:
    """It says what it is told, and doesn't end by itself."""
    command = [sys.executable, "-c", PROGRAM, str(same_moment)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert said(running) == "ready"
            yield running
        finally:
            running.kill()


def said(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def test_the_second_signal_ends_it_at_once() -> None:
    """The first one only asks; either of the two may come second."""
    with program(same_moment=0.0) as running:
        running.send_signal(signal.SIGTERM)
        assert said(running) == "stop"
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130


def test_two_signals_at_the_same_moment_are_one() -> None:
    """A terminal and the program that started this may both pass on a Ctrl-C."""
    with program(same_moment=3600.0) as running:
        running.send_signal(signal.SIGINT)
        assert said(running) == "stop"
        running.send_signal(signal.SIGTERM)
        running.send_signal(signal.SIGHUP)
        assert said(running) == "again"
        assert running.poll() is None
