"""The controller's own settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import settings


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 0.75), (2, 1.5), (3, 3.0), (10, 384.0), (11, 768.0), (12, 900.0), (10**6, 900.0)]
)
def test_failures_back_off(failures: int, delay: float) -> None:
    """Doubled each time, up to a quarter of an hour."""
    assert settings.Backoff().delay(failures) == delay


def test_defaults_listen_on_loopback_and_guard_nothing() -> None:
    """What a person gets who sets nothing."""
    chosen = settings.Settings(Path("desired_state"))

    assert (chosen.host, chosen.port, chosen.cloud, chosen.allow) == ("127.0.0.1", 8080, None, ())
