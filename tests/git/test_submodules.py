"""Submodules: fetched when asked for, at their exact commits, by the rules of their parent."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from controller import settings
from controller.sources import repository
from tests.git import servers
from tests.git.conftest import Follow


@pytest.fixture
def inner(upstream: servers.Upstream) -> servers.Upstream:
    """Beside the upstream."""
    made = servers.Upstream(upstream.bare.with_name("inner.git"))
    made.commit({"weights.txt": "1\n"}, "Inner")
    return made


def add(parent: servers.Upstream, url: str, sha: str, *, path: str = "models/inner") -> str:
    """As `git submodule add` does; the address as it is given."""
    modules = parent.tree / ".gitmodules"
    before = modules.read_text() if modules.exists() else ""
    modules.write_text(f'{before}[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    parent.work("add", ".gitmodules")
    parent.work("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
    parent.work("commit", "-q", "-m", "A submodule")
    return parent.push()


async def made(one: repository.Repository) -> Path:
    return await one.materialise((await one.fetch()).commit)


async def refused(one: repository.Repository) -> repository.FetchError:
    with pytest.raises(repository.FetchError) as error:
        await made(one)
    return error.value


async def test_not_asked_for_it_is_an_empty_folder(
    upstream: servers.Upstream, inner: servers.Upstream, follow: Follow
) -> None:
    add(upstream, "../inner.git", inner.sha)
    assert list(((await made(follow())) / "models/inner").iterdir()) == []


async def test_it_is_at_the_commit_that_the_parent_names(
    upstream: servers.Upstream, inner: servers.Upstream, follow: Follow
) -> None:
    """Not at its branch's, and with one in turn of its own. One that moves moves with its parent."""
    innermost = servers.Upstream(upstream.bare.with_name("innermost.git"))
    innermost.commit({"deep.txt": "deep\n"})
    named = add(inner, "../innermost.git", innermost.sha, path="deep")
    add(upstream, "../inner.git", named)
    later = inner.commit({"weights.txt": "2\n"})
    one = follow(submodules=True)
    tree = await made(one)
    assert (tree / "models/inner/weights.txt").read_text() == "1\n"
    assert (tree / "models/inner/deep/deep.txt").read_text() == "deep\n"
    assert (tree / "models/inner/deep/deep.txt").stat().st_mode & 0o222 == 0
    upstream.work("update-index", "--cacheinfo", f"160000,{later},models/inner")
    upstream.work("commit", "-q", "-m", "Newer")
    upstream.push()
    newer = await made(one)
    assert (newer / "models/inner/weights.txt").read_text() == "2\n"
    await one.tidy({newer})


async def test_asked_for_later_it_is_filled(
    upstream: servers.Upstream, inner: servers.Upstream, follow: Follow
) -> None:
    """The tree without it isn't taken for the tree with it."""
    add(upstream, "../inner.git", inner.sha)
    await made(follow())
    assert ((await made(follow(submodules=True))) / "models/inner/weights.txt").exists()


async def test_the_token_goes_to_the_same_host_only(
    upstream: servers.Upstream,
    inner: servers.Upstream,
    https: servers.Https,
    certificate: servers.Certificate,
    follow: Follow,
) -> None:
    """A submodule beside its parent is fetched with its token, one elsewhere without."""
    https.username, https.password = "bot", "s3cret-token"
    chosen = {"username": "bot", "token": settings.Secret(SecretStr("s3cret-token")), "submodules": True}
    add(upstream, "../inner.git", inner.sha)
    assert ((await made(follow(f"{https.url}/app.git", **chosen))) / "models/inner/weights.txt").exists()
    root = upstream.bare.parent
    with servers.https_server(root, certificate=certificate, username="bot", password="s3cret-token") as other:
        add(upstream, f"{other.url}/inner.git", inner.sha, path="elsewhere")
        error = await refused(follow(f"{https.url}/app.git", **chosen))
        assert other.requests
    assert error.reason == repository.Reason.AUTHENTICATION_FAILED
    assert f"{other.url}/inner.git" in str(error)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1/inner.git", "must be https://"),
        ("ext::sh -c touch% /tmp/x", "must be https://"),
        ("../../../../../../../../../../../../inner.git", "must not lead above"),
        ("ssh://-oProxyCommand=x/inner.git", "must name a host"),
    ],
)
async def test_its_address_is_held_to_the_same_rules(
    upstream: servers.Upstream, inner: servers.Upstream, follow: Follow, url: str, why: str
) -> None:
    """By git's own checks, or by ours."""
    add(upstream, url, inner.sha)
    with pytest.raises(repository.FetchError) as error:
        await made(follow(submodules=True))
    assert error.value.reason in (repository.Reason.INVALID_SUBMODULE, repository.Reason.INVALID_OBJECTS)
    if error.value.reason == repository.Reason.INVALID_SUBMODULE:
        assert why in str(error.value)


async def test_a_remote_names_no_path_on_this_machine(
    upstream: servers.Upstream, inner: servers.Upstream, https: servers.Https, follow: Follow
) -> None:
    add(upstream, inner.url, inner.sha)
    error = await refused(follow(f"{https.url}/app.git", submodules=True))
    assert (error.reason, "a path on this machine" in str(error)) == (repository.Reason.INVALID_SUBMODULE, True)


async def test_one_without_an_address(upstream: servers.Upstream, inner: servers.Upstream, follow: Follow) -> None:
    upstream.work("update-index", "--add", "--cacheinfo", f"160000,{inner.sha},lost")
    upstream.work("commit", "-q", "-m", "No .gitmodules")
    upstream.push()
    error = await refused(follow(submodules=True))
    assert (error.reason, "lost has no address" in str(error)) == (repository.Reason.INVALID_SUBMODULE, True)


async def test_one_that_holds_itself(upstream: servers.Upstream, follow: Follow) -> None:
    """Ends at a depth, not never."""
    shas = [upstream.sha]
    for _ in range(7):
        (upstream.tree / ".gitmodules").unlink(missing_ok=True)
        shas.append(add(upstream, "./", shas[-1], path="self"))
    error = await refused(follow(submodules=True))
    assert (error.reason, "nested too deeply" in str(error)) == (repository.Reason.INVALID_SUBMODULE, True)
