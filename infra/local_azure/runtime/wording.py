"""What is said of a container's state: the service's sentences, and the reasons that go into them. Pure.

Recorded (replicas-list): the words "on legion.", and the form of the moment in "Container started at".
"""

from __future__ import annotations

from datetime import datetime

STARTING = "PodInitializing."
PULLING = "PullingImage on legion."  # recorded: replicas-list
CRASHING = "CrashLoopBackOff on legion."
UNPULLED = "Failed to pull image"


def waiting(reason: str) -> str:
    return f"Container is waiting with reason: {reason}"


def started(time: datetime) -> str:
    """Recorded: replicas-list, "5/24/2025 4:35:31 PM"."""
    hour = time.hour % 12 or 12
    return f"Container started at: {time.month}/{time.day}/{time.year} {hour}:{time:%M:%S} {time:%p}."


def terminated(reason: str, code: int) -> str:
    return f"Container was terminated with reason: {reason}, exit code: {code}."


def unpulled(image: str) -> str:
    """Assumed: Kubernetes' word, in the form recorded of other reasons."""
    return f"ImagePullBackOff on legion. {UNPULLED} '{image}'."


def without_command(image: str) -> str:
    """Nothing of Azure's: there the image says what to run."""
    return (
        f"ImagePullBackOff on legion. Local Azure doesn't pull images, so it can't know the entry point of "
        f"{image}: give the container a command."
    )
