"""With a signers' file, only commits signed by one of them come out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.sources import repository
from tests.git import processes, servers
from tests.git.conftest import Follow


@pytest.fixture
def signers(signer: Path, tmp_path: Path) -> Path:
    file = tmp_path / "allowed signers"
    trust(file, signer)
    return file


def trust(file: Path, key: Path, *, only: str = "") -> None:
    """Let `file` say so, and nothing else."""
    file.write_text(f"ann@example.com {only}{servers.public(key)}\n")


async def unsigned(one: repository.Repository, cache: Path) -> str:
    """What is said; nothing is checked out."""
    with pytest.raises(repository.FetchError) as error:
        await one.fetch()
    assert error.value.reason == repository.Reason.UNSIGNED
    assert not (processes.home(cache) / "trees").exists()
    return str(error.value)


async def test_a_signed_commit_passes(upstream: servers.Upstream, follow: Follow, signer: Path, signers: Path) -> None:
    sha = upstream.commit({"run.sh": "echo 2\n"}, sign=signer)
    assert (await follow(signers=signers).fetch()).commit.sha == sha


async def test_an_unsigned_commit(upstream: servers.Upstream, follow: Follow, cache: Path, signers: Path) -> None:
    """The commit, its author and why are told; each time, not only when it is new."""
    one = follow(signers=signers)
    told = f"commit {upstream.sha[:12]} ('First' by Ann Author) isn't applied: it isn't signed"
    assert told in await unsigned(one, cache)
    assert told in await unsigned(one, cache)


async def test_a_signature_in_the_message_is_none(
    upstream: servers.Upstream, follow: Follow, cache: Path, signer: Path, signers: Path
) -> None:
    upstream.commit({}, sign=signer)
    signed = servers.git("cat-file", "commit", "main", cwd=upstream.bare)
    upstream.commit({}, f"A change\n\n{signed}")
    assert "it isn't signed" in await unsigned(follow(signers=signers), cache)


async def test_a_stranger_signs(
    upstream: servers.Upstream, follow: Follow, cache: Path, signers: Path, tmp_path: Path
) -> None:
    """The stranger's key is told; once it is in the file, the same commit passes."""
    stranger = servers.make_key(tmp_path / "stranger")
    sha = upstream.commit({"run.sh": "echo 2\n"}, sign=stranger)
    one = follow(signers=signers)
    told = await unsigned(one, cache)
    assert "its signer, ED25519 key SHA256:" in told
    assert f"isn't in {signers}" in told
    with signers.open("a") as file:
        file.write(f"bob@example.com {servers.public(stranger)}\n")
    assert (await one.fetch()).commit.sha == sha


async def test_a_commit_changed_after_it_was_signed(
    upstream: servers.Upstream, follow: Follow, cache: Path, signer: Path, signers: Path
) -> None:
    upstream.commit({"run.sh": "echo 2\n"}, "Good", sign=signer)
    text = servers.git("cat-file", "commit", "main", cwd=upstream.bare).replace("\n\nGood", "\n\nEvil")
    (upstream.tree / "forged").write_text(f"{text}\n")
    forged = servers.git("hash-object", "-t", "commit", "-w", str(upstream.tree / "forged"), cwd=upstream.bare)
    servers.git("update-ref", "refs/heads/main", forged, cwd=upstream.bare)
    assert "its signature isn't good: " in await unsigned(follow(signers=signers), cache)


async def test_a_key_for_another_purpose(
    upstream: servers.Upstream, follow: Follow, cache: Path, signer: Path, signers: Path
) -> None:
    """A signer whom the file trusts with files only signs no commit."""
    trust(signers, signer, only='namespaces="file" ')
    upstream.commit({"run.sh": "echo 2\n"}, sign=signer)
    await unsigned(follow(signers=signers), cache)


async def test_no_signers_file(
    upstream: servers.Upstream, follow: Follow, cache: Path, signer: Path, signers: Path
) -> None:
    """Without it nobody may sign."""
    upstream.commit({"run.sh": "echo 2\n"}, sign=signer)
    nowhere = signers / "nowhere"
    assert f"the signers' file {nowhere} can't be read" in await unsigned(follow(signers=nowhere), cache)


@pytest.fixture
def gpg_home() -> Iterator[Path]:
    """Where gpg has a key of Ann Author's."""
    if shutil.which("gpg") is None:
        pytest.skip("there is no gpg on this machine")
    home = Path(tempfile.mkdtemp())  # the path of its agent's socket must be short
    environ = {**servers.ENVIRON, "GNUPGHOME": str(home)}
    make = ["gpg", "--batch", "--passphrase", "", "--quick-gen-key", "Ann Author <ann@example.com>", "ed25519"]
    try:
        subprocess.run(make, env=environ, check=True, capture_output=True, timeout=60)
        yield home
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environ, check=True, timeout=30)
        shutil.rmtree(home)


async def test_an_openpgp_signature_doesnt_count(
    upstream: servers.Upstream,
    follow: Follow,
    cache: Path,
    signers: Path,
    gpg_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even a good one, by a key that this user's gpg trusts."""
    message = ("commit", "-q", "--allow-empty", "-m", "Signed", "-S")
    upstream.work("-c", "user.signingKey=ann@example.com", *message, environ={"GNUPGHOME": str(gpg_home)})
    upstream.push()
    monkeypatch.setenv("GNUPGHOME", str(gpg_home))
    assert "it isn't signed by ssh" in await unsigned(follow(signers=signers), cache)
