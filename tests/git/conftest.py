"""An upstream to follow, the servers that serve it, and repositories that follow it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller import settings
from controller.sources import git, repository
from tests.git import servers

Follow = Callable[..., repository.Repository]


@pytest.fixture
def upstream(tmp_path: Path) -> servers.Upstream:
    """One commit on main."""
    made = servers.Upstream(tmp_path / "served" / "app.git")
    made.commit({"desired_state/app.yaml": "kind: InferenceApp\n", "run.sh": "echo\n"}, "First")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def follow(upstream: servers.Upstream, cache: Path) -> AsyncIterator[Follow]:
    """Makes a repository that follows the upstream, or what else it is told; closed at the end."""
    made: list[repository.Repository] = []

    def follow(url: str = upstream.url, *, limits: git.Limits | None = None, **more: Any) -> repository.Repository:
        made.append(repository.Repository(settings.Git(url, **more), cache=cache, limits=limits))
        return made[-1]

    yield follow
    for one in made:
        await one.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> servers.Certificate:
    return servers.make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def https(
    upstream: servers.Upstream, certificate: servers.Certificate, monkeypatch: pytest.MonkeyPatch
) -> Iterator[servers.Https]:
    """Open to everybody; its authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    with servers.https_server(upstream.bare.parent, certificate=certificate) as running:
        yield running


@pytest.fixture(scope="session")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Ssh]:
    """Serves every test's repositories, by their absolute paths."""
    if servers.SSHD is None:
        pytest.skip("there is no sshd on this machine")
    with servers.ssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture
def signer(tmp_path: Path) -> Path:
    """A key that signs commits."""
    return servers.make_key(tmp_path / "signer")
