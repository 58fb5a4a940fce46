"""The controller's own settings: what a person may set, with a default each. No Azure, no desired state.

Where they come from (flag, environment, file) is `configuration`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

MOST_SECRET_BYTES = 64 * 1024

SHORTEST_LEASE, LONGEST_LEASE = 15, 60
"""Seconds that a share may be leased for. documented: Lease Share."""


class SecretError(Exception):
    """A secret can't be read; the message names the file and says why, never the value."""


@dataclass(frozen=True)
class Secret:
    """A secret of the controller's own: its value, or the file that holds it, read at each use so that a rotated one
    is taken up."""

    value: SecretStr | None = None
    file: Path | None = None

    def read(self) -> SecretStr:
        """The value, without the newlines that editors put at its end. Blocking. Raises SecretError."""
        if self.file is None:
            assert self.value is not None, "a secret has a value or a file"
            return self.value
        try:
            with self.file.open("rb") as opened:
                text = opened.read(MOST_SECRET_BYTES + 1).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it isn't UTF-8"
            raise SecretError(f"{self.file} can't be read: {why}") from None
        if not text or len(text) > MOST_SECRET_BYTES:
            raise SecretError(f"{self.file} is {'too large for a secret' if text else 'empty'}")
        return SecretStr(text)


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
class Git:
    """The git repository that holds the desired state, and how it is reached."""

    url: str
    """https://…, ssh://…, user@host:path or file://…; without a password."""

    ref: str = "main"
    """A branch, a tag, a full ref or a commit's 40 hex digits."""

    path: str = "desired_state"
    """The state folder inside the repository, POSIX and relative."""

    interval: float = 60.0
    """Seconds between fetches, ± 10 %."""

    submodules: bool = False
    """Whether submodules are fetched too."""

    signers: Path | None = None
    """ssh's allowed-signers file: only commits signed by one of them are applied."""

    username: str | None = None
    """Goes with `token`."""

    token: Secret | None = None
    """The password for https."""

    credential_helper: str | None = None
    """A git credential helper, as `credential.helper` takes it."""

    ssh_key: Path | None = None
    """The deploy key for ssh."""

    known_hosts: Path | None = None
    """The ssh hosts that are trusted. None: the user's own file."""

    secrets: Path | None = None
    """Where secrets' files may lie: who commits must not read whatever the controller can. None: nowhere."""


@dataclass(frozen=True)
class Settings:
    """One controller."""

    folder: Path
    """The state folder."""

    git: Git | None = None
    """The repository, in place of `folder`."""

    cache: Path = Path("~/.cache/acaops")
    """Where mirrors and checked-out commits are kept; losing it costs a fetch."""

    cloud: str | None = None
    """URL of the cloud's resource manager; None is public Azure."""

    inventory: str = "default"
    """Names this set of objects in owner tags, so that two controllers don't fight over one resource."""

    allow: tuple[str, ...] = ()
    """`SUBSCRIPTION[/GROUP]` the controller may touch; all when empty."""

    prune: bool = False
    """Whether what objects that are no longer desired have left is deleted."""

    allow_mass_delete: bool = False
    """Whether more than half of the inventory's objects may go at once."""

    lease: str | None = None
    """The share whose lease says which of several controllers leads; None: there is but this one."""

    lease_duration: float = 15.0
    """Seconds that the lease lasts, renewed a few times in it."""

    api_token: Secret | None = None
    """What requests that change something must show; None: there are none."""

    host: str = "127.0.0.1"
    port: int = 8080
    """Where health, status and metrics are served."""

    hook_secret: Secret | None = None
    """What pushes to /hook/git prove themselves by; None: there is no hook."""

    notify_url: Secret | None = None
    """Where changes are posted as signed JSON; the address may itself be a secret."""

    notify_secret: Secret | None = None
    """What those posts are signed with."""

    slack_url: Secret | None = None
    """Slack's incoming webhook."""

    github_token: Secret | None = None
    """Sets commit statuses at GitHub."""

    github_api: str = "https://api.github.com"

    log_level: str = "info"

    debounce: float = 0.3
    """Seconds of quiet after a file event before looking."""

    resync: float = 60.0
    """Seconds between reads of the state folder without a file event: network mounts raise none."""

    backoff: Backoff = field(default_factory=Backoff)
