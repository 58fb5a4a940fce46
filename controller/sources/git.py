"""git as a child process: an environment made from scratch, limits in time and size, and what its errors mean.

Nothing of the user's or the system's git configuration counts, no hook, filter or prompt runs, and no process outlives
its call. It must not know of remotes, mirrors or trees.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import SecretStr

from controller.telemetry import log as logs

T = TypeVar("T")

MOST_OUTPUT = 64 * 1024 * 1024
MOST_ERRORS = 64 * 1024
MOST_MESSAGE = 600
_LINES = 3

_ALLOWED = (
    *("PATH", "HOME", "LANG", "TMPDIR"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)

_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # empty, not absent: then neither core.askPass nor SSH_ASKPASS is looked at
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_ALLOW_PROTOCOL": "https:ssh:file",
}

_CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # every fetch leaves one pack, never hundreds of loose files
    "fetch.unpackLimit": "1",
    "fetch.fsckObjects": "true",
    # what old versions of other tools wrote; harmless, and in histories that nobody rewrites
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "http.sslVerify": "true",
    "http.followRedirects": "initial",
}


class Reason:
    """Constants used as `FetchError.reason`."""

    INVALID_URL = "InvalidUrl"
    INVALID_REF = "InvalidRef"
    UNREACHABLE = "Unreachable"
    TIMEOUT = "Timeout"
    CERTIFICATE = "CertificateRefused"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    HOST_KEY_UNKNOWN = "HostKeyUnknown"
    HOST_KEY_CHANGED = "HostKeyChanged"
    REPOSITORY_NOT_FOUND = "RepositoryNotFound"
    NOT_OWNED = "NotOwned"
    REF_NOT_FOUND = "RefNotFound"
    REF_AMBIGUOUS = "RefAmbiguous"
    UNSIGNED = "Unsigned"
    INVALID_OBJECTS = "InvalidObjects"
    INVALID_SUBMODULE = "InvalidSubmodule"
    LOCKED = "Locked"
    CORRUPT = "Corrupt"
    DISK_FULL = "DiskFull"
    CACHE_UNUSABLE = "CacheUnusable"
    GIT_MISSING = "GitMissing"
    GIT_FAILED = "GitFailed"


class FetchError(Exception):
    """A commit can't be had. The message is for people and holds no secret; `reason` is one of `Reason`."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True)
class Limits:
    """Seconds. `total`: one fetch or checkout. `silent`: a server that sends nothing. `lock`: waiting for another
    process at the same mirror."""

    total: float = 300.0
    silent: int = 30
    lock: float = 60.0


@dataclass(frozen=True)
class Access:
    """What a git process gets beyond the common: configuration, variables, and the secrets among them, which are
    taken out of its messages."""

    config: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[SecretStr, ...] = ()


NO_ACCESS = Access()

# The first that matches tells. GIT_FAILED and CORRUPT have no words of their own: a remote's call fails as the one, a
# local call as the other.
_MEANINGS = tuple(
    (reason, re.compile(words, re.IGNORECASE))
    for reason, words in (
        # git often keeps to itself why it couldn't write; it is hardly ever anything else
        (
            Reason.DISK_FULL,
            r"no space left on device|disk quota exceeded|(unable to|couldn't|failed to) write|write error",
        ),
        (Reason.CACHE_UNUSABLE, r"unable to create .*: (permission denied|read-only file system)"),
        (Reason.HOST_KEY_CHANGED, r"remote host identification has changed"),
        (Reason.HOST_KEY_UNKNOWN, r"host key verification failed|host key is known for"),
        (
            Reason.AUTHENTICATION_FAILED,
            r"authentication failed|could not read (username|password)|permission denied \(|returned error: 40[13]"
            r"|too many authentication failures",
        ),
        (
            Reason.CERTIFICATE,
            r"certificate (problem|verification|subject|signature)|gnutls_handshake|ssl_connect|ssl routines",
        ),
        (Reason.TIMEOUT, r"timed out|operation too slow|timeout, server|less than \d+ bytes/sec"),
        (Reason.NOT_OWNED, r"dubious ownership"),
        (
            Reason.REPOSITORY_NOT_FOUND,
            r"repository '.*' not found|repository not found|returned error: 404|does not appear to be a git repository"
            r"|no such repository|repository '.*' does not exist",
        ),
        (
            Reason.REF_NOT_FOUND,
            r"couldn't find remote ref|not our ref|does not allow request for unadvertised object"
            r"|no such remote ref",
        ),
        (Reason.INVALID_OBJECTS, r"fsck error|error in object|error: object [0-9a-f]+: \w+:"),
        (
            Reason.CORRUPT,
            r"not a git repository|bad object|missing (blob|tree|commit) object|unable to read (sha1|tree|[0-9a-f]{40})"
            r"|is corrupt|reference broken|cannot lock ref|did not send all necessary objects|bad config"
            r"|packfile .* (cannot|does not)|inflate: data stream error|too short to be a packfile|unresolved deltas"
            r"|index file .* is too small|bad signature",
        ),
        (
            Reason.UNREACHABLE,
            r"could not resolve|connection (refused|reset|closed)|failed to connect|couldn't connect|unable to access"
            r"|network is unreachable|no route to host|early eof|remote end hung up|could not read from remote",
        ),
    )
)

_NOISE = re.compile(
    r"hint:|warning:|fatal: the remote end hung up|fatal: could not read from remote repository|@{5,}$"
    r"|please make sure you have the correct access rights|and the repository exists"
    r"|to add an exception for this directory|git config --global|$",
    re.IGNORECASE,
)


def environment(access: Access = NO_ACCESS) -> dict[str, str]:
    """Everything a git process gets to see."""
    config = _CONFIG | dict(access.config)
    environ = {name: os.environ[name] for name in _ALLOWED if name in os.environ} | _ENVIRONMENT
    # git's own curl may be built on GnuTLS, which doesn't know OpenSSL's variables
    if bundle := os.environ.get("SSL_CERT_FILE"):
        environ |= {"SSL_CERT_FILE": bundle, "GIT_SSL_CAINFO": bundle}
    environ["GIT_CONFIG_COUNT"] = str(len(config))
    for number, (key, value) in enumerate(config.items()):
        environ |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return environ | dict(access.environ)


@dataclass(frozen=True)
class Done:
    """How a git process ended."""

    status: int
    output: str
    errors: str


async def run(
    *arguments: str,
    access: Access = NO_ACCESS,
    environ: Mapping[str, str] | None = None,
    answers: Collection[int] = (0,),
    otherwise: str = Reason.CORRUPT,
    keep: Collection[int] = (),
) -> Done:
    """Run git. `answers`: the exit codes that aren't errors. `otherwise`: the reason where its words don't tell.
    `keep`: descriptors that it inherits. Raises FetchError; cancelled, it kills git and all it started."""
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            env=environment(access) | dict(environ or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    except FileNotFoundError:
        raise FetchError(Reason.GIT_MISSING, "git isn't installed, or not on PATH") from None
    output, errors = await _ended(process)
    if process.returncode not in answers:
        raise failure(errors, access=access, otherwise=otherwise)
    if len(output) >= MOST_OUTPUT:
        raise FetchError(Reason.GIT_FAILED, f"git {arguments[0]} printed more than {MOST_OUTPUT >> 20} MiB")
    return Done(process.returncode or 0, output, errors)


def failure(errors: str, *, access: Access = NO_ACCESS, otherwise: str) -> FetchError:
    """What git's error output means, in its own first words that say something."""
    # what a server says of itself doesn't speak of our mirror; nor do words inside an address or a path
    ours = re.sub("'[^'\n]*'", "''", "\n".join(x for x in errors.splitlines() if not x.startswith("remote: ")))
    found = (reason for reason, words in _MEANINGS if words.search(ours))
    lines = [_plain(line) for line in errors.splitlines()]
    said = [line for line in lines if not _NOISE.match(line)] or [line for line in lines if line] or ["git failed"]
    return FetchError(next(found, otherwise), _without(" · ".join(said[:_LINES]), access)[:MOST_MESSAGE])


@contextlib.contextmanager
def told() -> Iterator[None]:
    """The file system's refusals inside become FetchError."""
    try:
        yield
    except OSError as error:
        reason = Reason.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.CACHE_UNUSABLE
        where = f"{error.filename}: " if error.filename else ""
        raise FetchError(reason, f"the cache: {where}{error.strerror or error}") from None


async def blocking(function: Callable[..., T], *arguments: object) -> T:
    """In a thread. A cancellation waits for its end, so that nothing works on behind the caller's back."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


async def _ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        read = _most(process.stdout, MOST_OUTPUT), _most(process.stderr, MOST_ERRORS)
        output, errors = await asyncio.gather(*read)
        await process.wait()
    except BaseException:
        # a session of its own has the leader's number as its group's; it is there as long as any member is
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    return output.decode(errors="replace"), errors.decode(errors="replace")


async def _most(stream: asyncio.StreamReader, most: int) -> bytes:
    """The first `most` bytes; the rest is read and dropped, so that the writer doesn't wait."""
    kept = bytearray()
    while chunk := await stream.read(64 * 1024):
        kept += chunk[: most - len(kept)]
    return bytes(kept)


def _plain(line: str) -> str:
    """Without what would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in line).strip()


def _without(text: str, access: Access) -> str:
    for secret in access.secrets:
        text = text.replace(secret.get_secret_value(), logs.MASK)
    return logs.masked(text)
