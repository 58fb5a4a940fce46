"""What a container's process is given: its command line and environment, translated for this machine.

Pure: values in, values out. Images aren't pulled and there are no mount namespaces, so a mount path is
replaced by the share's folder, the target port by a free one, and each replacement is said in a note.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local_azure import replicas

MARKER = "LOCAL_AZURE_CONTAINER"

# What Python, pip and torch need of the machine. Everything else stays with the server, secrets above all.
INHERITED = (
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "XDG_CACHE_HOME",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "NVIDIA_VISIBLE_DEVICES",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
INHERITED_PREFIXES = ("PIP_", "UV_", "TORCH_", "PYTORCH_")

_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\$\(|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")


@dataclass(frozen=True)
class Place:
    """Where one container runs: `port` stands in for the target port, `home` is its scratch folder."""

    replica: str
    port: int | None
    home: Path
    caches: Path
    marker: str
    main: bool


@dataclass(frozen=True)
class Launch:
    """`notes` are the lines that tell the container's log what was replaced."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    notes: tuple[str, ...]


def launch(
    revision: replicas.Revision, container: replicas.Container, *, place: Place, server: Mapping[str, str]
) -> Launch:
    """The process for `container`; `server` is the environment that the server itself was started with."""
    ports = _Ports(revision.target_port, place.port)
    mounts = _Mounts(container.mounts)
    own = {name: ports.variable(name, mounts.replace(value)) for name, value in container.env.items()}
    env = {**_base(place, server), **own, **_platform(revision, place, own)}
    words = (expand(word, env) for word in (*container.command, *container.args))
    argv = ports.words(tuple(mounts.replace(word) for word in words))
    notes = (
        f"local Azure: image {container.image} isn't pulled; the command runs in the server's environment",
        *mounts.notes(),
        *ports.notes(),
    )
    return Launch(argv, env, notes)


def expand(word: str, env: Mapping[str, str]) -> str:
    """Fill in `$(NAME)`; an unknown name stays as written and `$$(` stands for `$(`.

    Documented: kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container. Assumed to
    hold for Container Apps, which runs on Kubernetes.
    """

    def fill(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return "$("
        return env.get(match.group(1), match.group(0))

    return _REFERENCE.sub(fill, word)


def _base(place: Place, server: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in server.items() if _inherited(name)}
    path = [str(Path(sys.executable).parent), server.get("PATH", os.defpath)]
    return {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PIP_CACHE_DIR": str(place.caches / "pip"),
        **kept,
        "PATH": os.pathsep.join(path),
        "HOME": str(place.home),
        "TMPDIR": str(place.home / "tmp"),
        MARKER: place.marker,
    }


def _inherited(name: str) -> bool:
    if name in INHERITED:
        return True
    return name.startswith(INHERITED_PREFIXES) and not _SECRET.search(name)


def _platform(revision: replicas.Revision, place: Place, own: Mapping[str, str]) -> dict[str, str]:
    """Documented: learn.microsoft.com/azure/container-apps/environment-variables, "Built-in environment variables".

    Azure sets CONTAINER_APP_PORT but no PORT; here the main container gets both, because the port differs.
    """
    env = {**revision.variables, "CONTAINER_APP_REPLICA_NAME": place.replica}
    if place.port is not None:
        env["CONTAINER_APP_PORT"] = str(place.port)
        if place.main or own.get("PORT") == str(place.port):
            env["PORT"] = str(place.port)
    return env


class _Mounts:
    """Replaces mount paths, `/mount` and `/mount/x` but not `/mountain` or `/a/mount`."""

    def __init__(self, mounts: tuple[replicas.Mount, ...]) -> None:
        self._mounts = mounts
        self._folders = {mount.path.rstrip("/"): str(mount.folder) for mount in mounts if mount.path.rstrip("/")}
        names = sorted(self._folders, key=len, reverse=True)
        inside = "|".join(re.escape(name) for name in names)
        self._pattern = re.compile(rf"(?:(?<![\w.~/}}-])|(?<=://))(?:{inside})(?![\w~-]|\.\w)") if names else None

    def replace(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._folders[match.group(0)], text)

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"local Azure: {mount.path} stands for {mount.folder}"
            + (" (read-only in Azure, not enforced here)" if mount.read_only else "")
            for mount in self._mounts
        )


class _Ports:
    """Replaces the target port where it is plainly one: in *PORT variables and after --…port."""

    def __init__(self, target: int | None, port: int | None) -> None:
        self._target = target
        self._port = port
        self._replaced: list[str] = []

    def variable(self, name: str, value: str) -> str:
        if self._port is None or value.strip() != str(self._target) or not re.search(r"(^|_)PORT$", name):
            return value
        self._replaced.append(f"{name}={value}")
        return str(self._port)

    def words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        if self._port is None:
            return words
        option = re.compile(rf"(?<!\S)(--[\w-]*port(?:=|\s+)){self._target}(?!\w)")
        done: list[str] = []
        for word in words:
            after_option = bool(done) and re.fullmatch(r"--[\w-]*port", done[-1]) is not None
            new = str(self._port) if after_option and word == str(self._target) else self._inside(option, word)
            if new != word:
                self._replaced.append(f"--port {self._target}")
            done.append(new)
        return tuple(done)

    def _inside(self, option: re.Pattern[str], word: str) -> str:
        return option.sub(lambda match: f"{match.group(1)}{self._port}", word)

    def notes(self) -> tuple[str, ...]:
        if self._port is None:
            return ()
        told = f" and in place of {', '.join(dict.fromkeys(self._replaced))}" if self._replaced else ""
        return (f"local Azure: port {self._port} stands for the target port {self._target}: in PORT{told}",)
