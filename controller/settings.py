"""The controller's own settings: what a person may set, with a default each. No Azure, no desired state."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Backoff:
    """Seconds between failed attempts: `first`, doubled each time up to `most`, each ± `jitter`."""

    first: float = 0.75
    most: float = 900.0
    jitter: float = 0.2

    def delay(self, failures: int) -> float:
        """The wait after `failures` failures in a row (1 or more), before jitter."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 32))


@dataclass(frozen=True)
class Settings:
    """One controller."""

    folder: Path
    """The state folder."""

    cloud: str | None = None
    """URL of the cloud's resource manager; None is public Azure."""

    inventory: str = "default"
    """Names this set of objects in owner tags, so that two controllers don't fight over one resource."""

    allow: tuple[str, ...] = ()
    """`SUBSCRIPTION[/GROUP]` the controller may touch; all when empty."""

    host: str = "127.0.0.1"
    port: int = 8080
    """Where health, status and metrics are served."""

    debounce: float = 0.3
    """Seconds of quiet after a file event before looking."""

    resync: float = 60.0
    """Seconds between reads of the state folder without a file event: network mounts raise none."""

    backoff: Backoff = field(default_factory=Backoff)
