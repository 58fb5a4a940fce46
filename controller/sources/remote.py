"""Where a repository is and how one gets in: its address, the ref that is followed, and the credentials for git.

Nothing is contacted here. Secrets go into the environment of the one process that needs them, never into an address or
an argument, which everybody on the machine can read.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from controller import settings
from controller.sources import git

USERNAME = "x-access-token"
"""Goes with a token where no name is set: GitHub asks for it with an app's token, others take any."""

_HELPER = (
    '!f() { if test "$1" = get; then '
    'printf "username=%s\\npassword=%s\\n" "$ACAOPS_GIT_USERNAME" "$ACAOPS_GIT_PASSWORD"; fi; }; f'
)
_NEEDED = "must be https://…, ssh://…, user@host:path, file:///… or an absolute path"
_HOST = r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*"
_SCP = re.compile(rf"(?P<user>{_USER})@(?P<host>{_HOST}):(?P<path>[^:].*)")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# git check-ref-format's rules
_BAD_REF = re.compile(r"^[-/.]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|[/.]$|\.lock(/|$)|^@$")
# services' prefixes; no service has user names this long
_TOKEN = re.compile(r"gh[a-z]_|github_pat_|glpat-|.{40}")
_CONNECT_SECONDS = 15


@dataclass(frozen=True)
class Remote:
    """`before` is the address up to the path. `user` isn't part of an https address: a token in its place would be
    seen in every list of processes."""

    scheme: Literal["https", "ssh", "file"]
    user: str
    host: str
    port: int | None
    before: str
    path: str

    @property
    def url(self) -> str:
        """As git and people get it."""
        return self.before + self.path

    @property
    def place(self) -> tuple[str, str, int | None]:
        """Credentials are for one place."""
        return self.scheme, self.host, self.port or {"https": 443, "ssh": 22}.get(self.scheme)


def checked(url: str) -> str:
    """`url` as it is. Raises ValueError with what it must be."""
    _parsed(url)
    return url


def checked_ref(ref: str) -> str:
    """`ref` as it is. Raises ValueError with what it must be."""
    if not ref or _BAD_REF.search(ref):
        raise ValueError("must be a branch, a tag, a full ref like refs/pull/1/merge or a commit's 40 hex digits")
    return ref


def parse(url: str) -> Remote:
    """The address of a repository. Raises FetchError (InvalidUrl)."""
    try:
        return _parsed(url)
    except ValueError as error:
        raise git.FetchError(git.Reason.INVALID_URL, f"the repository's address {error}") from None


def is_sha(ref: str) -> bool:
    """Whether `ref` names a commit by itself."""
    return _SHA.fullmatch(ref) is not None


def submodule(parent: Remote, url: str) -> Remote:
    """The address that `.gitmodules` gives, which may be relative to the parent's. Raises FetchError."""
    try:
        found = _relative(parent, url) if url.startswith(("./", "../")) else _parsed(url)
        if found.scheme == "file" and parent.scheme != "file":
            raise ValueError("must not be a path on this machine")
    except ValueError as error:
        raise git.FetchError(git.Reason.INVALID_SUBMODULE, f"a submodule's address {error}") from None
    return found


def access(chosen: settings.Git, remote: Remote, *, limits: git.Limits) -> git.Access:
    """What git needs to reach `remote`. The credentials are those of the chosen repository, and go nowhere else.
    Reads the token's file: blocking. Raises FetchError."""
    home = remote.place == parse(chosen.url).place
    if remote.scheme == "ssh":
        return _ssh(chosen, remote, ours=home)
    if remote.scheme == "file":
        return git.NO_ACCESS
    config = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": str(limits.silent)}
    if not home:
        return git.Access(config)
    return _https(chosen, remote, config)


def explained(error: git.FetchError, remote: Remote, chosen: settings.Git) -> git.FetchError:
    """`error` with where it happened and, where people can do something, what."""
    remedies = {
        git.Reason.HOST_KEY_UNKNOWN: _known_hosts_remedy(remote, chosen),
        git.Reason.HOST_KEY_CHANGED: "somebody may be in between: find out why before you replace it in "
        f"{chosen.known_hosts or '~/.ssh/known_hosts'}",
        git.Reason.AUTHENTICATION_FAILED: "check the token (and its right to read), or the deploy key",
        git.Reason.CERTIFICATE: "a private certificate authority is trusted by SSL_CERT_FILE",
        git.Reason.REPOSITORY_NOT_FOUND: "check the address; services also say so where the right to read is missing",
        git.Reason.NOT_OWNED: "run as the owner of its files, or have it served by https or ssh",
        git.Reason.DISK_FULL: "make room in the cache's file system",
    }
    remedy = f"; {remedies[error.reason]}" if error.reason in remedies else ""
    return git.FetchError(error.reason, f"{remote.url}: {error}{remedy}")


def _parsed(url: str) -> Remote:
    if not url or not url.isprintable() or not unquote(url).isprintable():
        raise ValueError(f"{_NEEDED}, without control characters")
    if url.startswith("/"):
        return Remote("file", "", "", None, "", url)
    if "://" not in url:
        return _scp(url)
    parts = urlsplit(url)
    if parts.scheme not in ("https", "ssh", "file"):
        hint = "; http and git don't keep what they carry from being changed" if parts.scheme in ("http", "git") else ""
        raise ValueError(_NEEDED + hint)
    if parts.query or parts.fragment or not parts.path.strip("/"):
        raise ValueError(f"{_NEEDED}, and end with the repository's path")
    if parts.password is not None or _TOKEN.match(parts.username or ""):
        raise ValueError(
            "must not hold a password or a token, which every user of the machine could see: set git-token-file"
        )
    return _file(parts) if parts.scheme == "file" else _remote(parts)


def _scp(url: str) -> Remote:
    found = _SCP.fullmatch(url)
    if found is None:
        raise ValueError(_NEEDED)
    user, host, path = found["user"], found["host"], found["path"]
    if path.startswith("-"):
        raise ValueError("must not have a path that begins with '-'")
    return Remote("ssh", user, host.strip("[]").lower(), None, f"{user}@{host}:", path)


def _file(parts: SplitResult) -> Remote:
    if parts.netloc:
        raise ValueError("must have three slashes: file:///path")
    return Remote("file", "", "", None, "file://", parts.path)


def _remote(parts: SplitResult) -> Remote:
    """Raises ValueError, as `port` does by itself where it isn't one."""
    user, host, port = parts.username or "", parts.netloc.rpartition("@")[2], parts.port
    name = host if port is None else host.removesuffix(f":{port}")
    if not re.fullmatch(_HOST, name) or (user and not re.fullmatch(_USER, unquote(user))):
        raise ValueError("must name a host, and a user only in plain letters")
    if parts.path.startswith("/-"):
        raise ValueError("must not have a path that begins with '-'")
    at = f"{user}@" if user and parts.scheme == "ssh" else ""
    scheme: Literal["https", "ssh"] = "ssh" if parts.scheme == "ssh" else "https"
    return Remote(scheme, unquote(user), name.strip("[]").lower(), port, f"{scheme}://{at}{host}", parts.path)


def _relative(parent: Remote, url: str) -> Remote:
    depth = posixpath.normpath(parent.path).strip("/").count("/") + 1
    if url.split("/").count("..") > depth:
        raise ValueError("must not lead above its parent's host")
    return _parsed(parent.before + posixpath.normpath(posixpath.join(parent.path, url)))


def _https(chosen: settings.Git, remote: Remote, config: dict[str, str]) -> git.Access:
    name = chosen.username or parse(chosen.url).user
    place = f"credential.{remote.before}"
    if name:
        config[f"{place}.username"] = name
    if chosen.credential_helper:
        config[f"{place}.helper"] = chosen.credential_helper
    if chosen.token is None:
        return git.Access(config)
    token = _token(chosen.token)
    name = name or USERNAME
    config[f"{place}.helper"] = _HELPER
    environ = {"ACAOPS_GIT_USERNAME": name, "ACAOPS_GIT_PASSWORD": token.get_secret_value()}
    sent = base64.b64encode(f"{name}:{token.get_secret_value()}".encode()).decode()
    return git.Access(config, environ, (token, SecretStr(sent)))


def _token(secret: settings.Secret) -> SecretStr:
    try:
        token = secret.read()
    except settings.SecretError as error:
        raise git.FetchError(git.Reason.AUTHENTICATION_FAILED, f"the token: {error}") from None
    if not token.get_secret_value().isprintable():
        raise git.FetchError(git.Reason.AUTHENTICATION_FAILED, "the token holds a line break or a control character")
    return token


def _ssh(chosen: settings.Git, remote: Remote, *, ours: bool) -> git.Access:
    known, key = chosen.known_hosts, chosen.ssh_key
    if known is not None and not os.access(known, os.R_OK):
        raise git.FetchError(git.Reason.HOST_KEY_UNKNOWN, f"{known} can't be read")
    if ours and key is not None and not os.access(key, os.R_OK):
        raise git.FetchError(git.Reason.AUTHENTICATION_FAILED, f"the deploy key {key} can't be read")
    options = [
        *("BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={_CONNECT_SECONDS}", "ControlMaster=no"),
        *("ServerAliveInterval=15", "ServerAliveCountMax=2", "ForwardAgent=no", "ClearAllForwardings=yes"),
    ]
    if known is not None:
        options += [f"UserKnownHostsFile={_path(known)}", "GlobalKnownHostsFile=/dev/null"]
    if not ours:
        options += ["IdentitiesOnly=yes", "IdentityFile=none", "IdentityAgent=none"]
    elif key is not None:
        options += ["IdentitiesOnly=yes", f"IdentityFile={_path(key)}", "IdentityAgent=none"]
    command = ["ssh", "-F", "/dev/null", *(word for option in options for word in ("-o", option))]
    environ = {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}
    if ours and key is None and (agent := os.environ.get("SSH_AUTH_SOCK")):
        environ["SSH_AUTH_SOCK"] = agent
    return git.Access({}, environ)


def _path(path: Path) -> str:
    """As ssh reads a path in an option: in quotes, percent signs and quotes escaped."""
    text = str(path.expanduser().absolute())
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        text = text.replace(character, escaped)
    return f'"{text}"'


def _known_hosts_remedy(remote: Remote, chosen: settings.Git) -> str:
    port = f" -p {remote.port}" if remote.port else ""
    where = chosen.known_hosts or "~/.ssh/known_hosts"
    return f"`ssh-keyscan{port} {remote.host} >> {where}` adds the host's key: compare its fingerprint with the host's"
