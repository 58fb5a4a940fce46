"""How long a container that ended waits before it starts again. Pure; when a run ended is its container's business.

Documented: kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, "Container restarts": the first restart comes at
once, then 10 s doubling to 5 min; ten minutes of running clear the count. In Azure's seconds.
"""

from __future__ import annotations

BACK_OFF_FIRST, BACK_OFF_MOST, BACK_OFF_RESET = 10.0, 300.0, 600.0
# Ends in a row from which on a container is said to crash.
CRASHES = 2
# Assumed: for this part of a back-off the container shows how it ended, then that it waits.
SHOWN = 0.5


def back_off(crashes: int) -> float:
    """Azure's seconds before the next start, after `crashes` in a row."""
    return 0.0 if crashes < CRASHES else min(BACK_OFF_MOST, BACK_OFF_FIRST * 2.0 ** (crashes - CRASHES))
