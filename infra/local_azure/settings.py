"""What a local Azure is started with, and what it keeps of itself in its state folder: identity and port.

The identity (tenant, service principal, keys) is made once and never changes, so that clients' cached
tokens and files survive a restart. Nothing here opens a socket or knows the wire.
"""

from __future__ import annotations

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
PORT = 8443
TIME_SCALE = 20.0
GPU_LIMIT = 16
IDENTITY = "identity.json"


@dataclass(frozen=True)
class Settings:
    """`port` 0 takes any free port, the same again after a restart. `time_scale` 0 makes provisioning instant.

    `processes` False runs no containers: revisions only look as if they ran. `throttled` False lets ARM's token
    buckets never run out; `resource_requests_rate` refills those of resource requests, per second of Azure's time,
    instead of the rate that is assumed.

    `scenario` is a file that says what goes wrong with replicas; see `scenario`.

    `unregistered` are resource providers that a subscription must register before it can write their resources.
    `gpu_limit` is the quota SubscriptionDedicatedNCA100Gpus in each region (Azure's default is 0); `slow_gpu` makes an
    environment with such GPUs take the 984 s recorded once. `taken_accounts` are names of storage accounts that
    somebody else has. `one_at_a_time` refuses to write an app, or its environment, while another app of the
    environment has an operation in progress.
    """

    state: Path
    port: int = PORT
    time_scale: float = TIME_SCALE
    subscriptions: tuple[str, ...] = (SUBSCRIPTION,)
    processes: bool = True
    throttled: bool = True
    resource_requests_rate: float | None = None
    unregistered: tuple[str, ...] = ()
    gpu_limit: int = GPU_LIMIT
    slow_gpu: bool = False
    taken_accounts: tuple[str, ...] = ()
    one_at_a_time: bool = True
    scenario: Path | None = None


@dataclass(frozen=True)
class Identity:
    """Who may call. `signing_key` signs tokens; `identity_header` is the managed identity endpoint's secret."""

    tenant: str
    client_id: str
    object_id: str
    client_secret: str
    signing_key: str
    identity_header: str


def identity(state: Path) -> Identity:
    """The identity kept in `state`, made on first use."""
    path = state / IDENTITY
    if path.exists():
        return Identity(**json.loads(path.read_text()))
    made = Identity(
        tenant=str(uuid.uuid4()),
        client_id=str(uuid.uuid4()),
        object_id=str(uuid.uuid4()),
        client_secret=secrets.token_urlsafe(30),
        signing_key=secrets.token_hex(32),
        identity_header=str(uuid.uuid4()),
    )
    write_private(path, json.dumps(asdict(made), indent=1))
    return made


def remembered_port(state: Path) -> int:
    """The port that a server on any free port took last time; 0 when there was none."""
    path = state / "port"
    return int(path.read_text()) if path.exists() else 0


def remember_port(state: Path, port: int) -> None:
    if remembered_port(state) != port:
        write_private(state / "port", str(port))


def write_private(path: Path, text: str) -> None:
    """Write `path` whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
