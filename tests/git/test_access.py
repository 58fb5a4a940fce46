"""Getting in: tokens, helpers, deploy keys, authorities and host keys; and what is said to those who don't."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from controller import settings
from controller.sources import repository
from tests.git import processes, servers
from tests.git.conftest import Follow

TOKEN = "t0ken-that-nobody-may-see"


async def refused(one: repository.Repository) -> repository.FetchError:
    with pytest.raises(repository.FetchError) as error:
        await one.fetch()
    return error.value


def locked(https: servers.Https) -> str:
    """The repository's address, once only the token lets one in."""
    https.username, https.password = "bot", TOKEN
    return f"{https.url}/app.git"


async def test_a_token_lets_one_in(upstream: servers.Upstream, https: servers.Https, follow: Follow) -> None:
    one = follow(locked(https), username="bot", token=settings.Secret(SecretStr(TOKEN)))
    assert (await one.fetch()).commit.sha == upstream.sha


async def test_a_name_in_the_address_goes_with_the_token(
    upstream: servers.Upstream, https: servers.Https, follow: Follow
) -> None:
    url = locked(https).replace("//", "//bot@")
    one = follow(url, token=settings.Secret(SecretStr(TOKEN)))
    assert (await one.fetch()).commit.sha == upstream.sha


async def test_a_rotated_token_is_taken_up(
    upstream: servers.Upstream, https: servers.Https, follow: Follow, tmp_path: Path
) -> None:
    """The file is read anew for each fetch."""
    file = tmp_path / "token"
    file.write_text("old\n")
    one = follow(locked(https), username="bot", token=settings.Secret(file=file))
    assert (await refused(one)).reason == repository.Reason.AUTHENTICATION_FAILED
    file.write_text(f"{TOKEN}\n")
    assert (await one.fetch()).commit.sha == upstream.sha


@pytest.mark.parametrize(("text", "why"), [(None, "can't be read"), ("", "is empty"), ("a\nb", "holds a line break")])
async def test_a_token_that_cant_be_used(
    https: servers.Https, follow: Follow, tmp_path: Path, text: str | None, why: str
) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    error = await refused(follow(locked(https), token=settings.Secret(file=file)))
    assert (error.reason, why in str(error)) == (repository.Reason.AUTHENTICATION_FAILED, True)
    assert https.requests == []


@pytest.mark.parametrize("token", [None, settings.Secret(SecretStr("wr0ng-token-that-nobody-may-see"))])
async def test_https_refuses(https: servers.Https, follow: Follow, token: settings.Secret | None) -> None:
    """The remedy is told; the token isn't; nothing waits for a person at a prompt."""
    error = await refused(follow(locked(https), token=token))
    assert error.reason == repository.Reason.AUTHENTICATION_FAILED
    assert "check the token" in str(error)
    assert "nobody" not in str(error)


async def test_a_credential_helper_lets_one_in(
    upstream: servers.Upstream, https: servers.Https, follow: Follow
) -> None:
    helper = f"!f() {{ echo username=bot; echo password={TOKEN}; }}; f"
    assert (await follow(locked(https), credential_helper=helper).fetch()).commit.sha == upstream.sha


async def test_a_token_is_seen_nowhere(
    https: servers.Https, follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not in the arguments of any process while the server lets git wait, nor in what is logged or raised, nor on
    disk."""
    url = locked(https)
    one = follow(url, username="bot", token=settings.Secret(SecretStr(TOKEN)))
    with structlog.testing.capture_logs() as logs:
        await one.fetch()
        https.hold()
        task = asyncio.create_task(one.fetch())
        await asyncio.to_thread(https.waiting.wait, 10)
        seen = processes.arguments()
        assert any(b"git-remote-http" in line or b"remote-https" in line for line in seen)
        https.password = "changed"
        https.release()
        with pytest.raises(repository.FetchError) as error:
            await task
    assert not [line for line in seen if TOKEN.encode() in line]
    assert TOKEN not in f"{logs} {error.value} {error.value!r}"
    stored = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not [path for path in stored if TOKEN.encode() in path.read_bytes()]


async def test_an_authority_that_isnt_trusted(
    https: servers.Https, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS is verified, also where the environment says not to."""
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    error = await refused(follow(f"{https.url}/app.git"))
    assert (error.reason, "SSL_CERT_FILE" in str(error)) == (repository.Reason.CERTIFICATE, True)


async def test_a_redirect_takes_no_token_elsewhere(
    upstream: servers.Upstream, https: servers.Https, certificate: servers.Certificate, follow: Follow
) -> None:
    """The first request may be sent on; the other server isn't told what this one's token is."""
    url = locked(https)
    root = upstream.bare.parent
    with servers.https_server(root, certificate=certificate, username="bot", password=TOKEN) as other:
        https.redirects["/app.git/"] = f"{other.url}/app.git/"
        error = await refused(follow(url, username="bot", token=settings.Secret(SecretStr(TOKEN))))
        assert other.requests
    assert error.reason == repository.Reason.AUTHENTICATION_FAILED


async def test_a_repository_that_isnt_there(https: servers.Https, follow: Follow) -> None:
    error = await refused(follow(f"{https.url}/nope.git"))
    assert (error.reason, "check the address" in str(error)) == (repository.Reason.REPOSITORY_NOT_FOUND, True)


async def test_a_deploy_key_lets_one_in(upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow) -> None:
    """By key and known host alone, also where their paths hold spaces."""
    one = follow(ssh.url + str(upstream.bare), ssh_key=ssh.key, known_hosts=ssh.known_hosts)
    assert (await one.fetch()).commit.sha == upstream.sha


async def test_paths_with_odd_characters_reach_ssh(
    upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow, tmp_path: Path
) -> None:
    odd = tmp_path / 'an "odd" 100% $(path)'
    odd.mkdir()
    (odd / "key").write_bytes(ssh.key.read_bytes())
    (odd / "key").chmod(0o600)
    (odd / "known").write_bytes(ssh.known_hosts.read_bytes())
    one = follow(ssh.url + str(upstream.bare), ssh_key=odd / "key", known_hosts=odd / "known")
    assert (await one.fetch()).commit.sha == upstream.sha


async def test_ssh_refuses(upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow, tmp_path: Path) -> None:
    stranger = servers.make_key(tmp_path / "stranger")
    error = await refused(follow(ssh.url + str(upstream.bare), ssh_key=stranger, known_hosts=ssh.known_hosts))
    assert (error.reason, "deploy key" in str(error)) == (repository.Reason.AUTHENTICATION_FAILED, True)


async def test_a_deploy_key_that_isnt_there(upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow) -> None:
    missing = ssh.key.with_name("nope")
    error = await refused(follow(ssh.url + str(upstream.bare), ssh_key=missing, known_hosts=ssh.known_hosts))
    assert error.reason == repository.Reason.AUTHENTICATION_FAILED
    assert f"the deploy key {missing} can't be read" in str(error)


@pytest.mark.parametrize("exists", [False, True])
async def test_an_unknown_host(
    upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow, tmp_path: Path, *, exists: bool
) -> None:
    """It isn't trusted at first sight; how to make it known is told."""
    known = tmp_path / "known"
    if exists:
        known.write_text("")
    error = await refused(follow(ssh.url + str(upstream.bare), ssh_key=ssh.key, known_hosts=known))
    assert error.reason == repository.Reason.HOST_KEY_UNKNOWN
    assert str(error).count(f"`ssh-keyscan -p {ssh.port} 127.0.0.1 >> {known}`") == 1


async def test_a_host_with_another_key(
    upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{ssh.port} {servers.public(servers.make_key(tmp_path / 'other'))}\n")
    error = await refused(follow(ssh.url + str(upstream.bare), ssh_key=ssh.key, known_hosts=known))
    assert error.reason == repository.Reason.HOST_KEY_CHANGED
    assert "find out why" in str(error)


async def test_an_agent_serves_where_there_is_no_key(
    upstream: servers.Upstream, ssh: servers.Ssh, follow: Follow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment's agent is asked."""
    agent = tmp_path / "agent"
    process = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", str(agent), stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 10)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        add = await asyncio.create_subprocess_exec(
            "ssh-add", "-q", str(ssh.key), env={**os.environ, "SSH_AUTH_SOCK": str(agent)}
        )
        assert await add.wait() == 0
        one = follow(ssh.url + str(upstream.bare), known_hosts=ssh.known_hosts)
        assert (await one.fetch()).commit.sha == upstream.sha
    finally:
        process.terminate()
        await process.wait()
