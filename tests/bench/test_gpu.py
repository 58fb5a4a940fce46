"""The memory's floor and the goals on a GPU, from made-up rows; and the bench itself, small, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import gpu_floor

PHI = gpu_floor.Memory(2.04e12, weights=7_445_130_240, token=384 * 1024)


def row(way: str, streams: int, speed: float, *, floor: float = 100.0) -> gpu_floor.Row:
    return gpu_floor.Row(way, streams, tokens=int(speed * 10), seconds=10.0, floor=floor)


def test_the_floor_of_one_stream() -> None:
    """Phi-3-mini's 7.45 GB of weights at 2.04 TB/s: 274 tokens a second."""
    assert PHI.step(1, context=0) == pytest.approx(3.65e-3, rel=0.01)
    assert PHI.speed(1, context=0) == pytest.approx(274, rel=0.01)


def test_keys_and_values_are_read_too() -> None:
    """32 layers of 32 heads of 96 values, twice, in bf16: of sixteen long contexts more than of the weights."""
    assert gpu_floor.per_token(layers=32, heads=32, width=96, size=2) == PHI.token
    assert PHI.speed(16, context=2048) == pytest.approx(1605, rel=0.01)


def test_goals_met() -> None:
    """Eager's best total counts, be it of one stream or of many threads."""
    rows = [
        row("engine", 1, 25),
        row("static", 1, 60),
        row("eager", 1, 10),
        row("threads", 16, 9),
        row("engine", 16, 80),
    ]
    assert list(gpu_floor.judged(rows).values()) == [True, True, True]
    faster = [*rows[:3], row("threads", 16, 11), rows[4]]
    assert list(gpu_floor.judged(faster).values()) == [True, True, False]


def test_goals_missed() -> None:
    """Under its goal is as bad as not measured."""
    rows = [row("engine", 1, 24), row("static", 1, 59), row("eager", 1, 10), row("engine", 16, 79)]
    assert list(gpu_floor.judged(rows).values()) == [False, False, False]
    missing = gpu_floor.judged([])
    assert list(missing.values()) == [False, False, False]
    assert all("not measured" in told for told in missing)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench.gpu", *arguments]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_every_way_runs() -> None:
    """On the CPU, with a small shape."""
    done = bench("--tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    ways = [tuple(line.split()[:2]) for line in done.stdout.splitlines()]
    engine = [("engine", str(streams)) for streams in (1, 4, 16, 64)]
    assert {("eager", "1"), ("threads", "16"), ("static", "1"), *engine} <= set(ways)


def test_without_a_gpu() -> None:
    """One line says so."""
    done = bench()
    assert (done.returncode, done.stdout.count("\n")) == (3, 1)
    assert done.stdout.startswith("no GPU: ")
