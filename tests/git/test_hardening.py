"""Nothing that a repository, the user or the environment says makes git run something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.sources import repository
from tests.git import servers
from tests.git.conftest import Follow

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a mark when it runs; the mark is beside it."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/trap-ran\ncat\n")
    program.chmod(0o755)
    return program


async def checked_out(follow: Follow, url: str | None = None) -> Path:
    one = follow(url) if url else follow()
    return await one.materialise((await one.fetch()).commit)


async def test_the_users_configuration_doesnt_count(
    upstream: servers.Upstream,
    https: servers.Https,
    follow: Follow,
    trap: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hooks, filters, monitors, helpers and rewritten addresses of ~/.gitconfig, and those that variables name."""
    home = tmp_path / "home"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc"):
        (hooks / name).symlink_to(trap)
    config = (
        f"[core]\nhooksPath={hooks}\nfsmonitor={trap}\nsshCommand={trap}\nattributesFile={home}/attributes\n"
        f'[filter "lfs"]\nsmudge={trap}\nprocess={trap}\nrequired=true\n[credential]\nhelper="!{trap}"\n'
        '[url "https://nowhere.invalid/"]\ninsteadOf=https://127.0.0.1\n'
    )
    (home / ".gitconfig").write_text(config)
    (home / ".config" / "git").mkdir(parents=True)
    for attributes in (home / "attributes", home / ".config" / "git" / "attributes"):
        attributes.write_text("* filter=lfs text eol=crlf\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'filter.lfs.smudge={trap}'")
    monkeypatch.setenv("GIT_DIR", str(upstream.tree / ".git"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(home))
    monkeypatch.setenv("GIT_ASKPASS", str(trap))
    monkeypatch.setenv("GIT_SSH_COMMAND", str(trap))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(trap))
    upstream.commit({".gitattributes": "*.bin filter=lfs\n", "weights.bin": POINTER})
    tree = await checked_out(follow, f"{https.url}/app.git")
    assert (tree / "weights.bin").read_bytes() == POINTER.encode()
    assert (tree / "run.sh").read_bytes() == b"echo\n"
    https.username, https.password = "bot", "secret"
    with pytest.raises(repository.FetchError):
        await follow(f"{https.url}/app.git").fetch()
    assert not trap.with_name("trap-ran").exists()


async def test_a_repositorys_own_hooks_and_configuration_dont_run(
    upstream: servers.Upstream, follow: Follow, trap: Path
) -> None:
    """Nor does what is committed under names that git looks at elsewhere."""
    for name in ("post-checkout", "post-update", "reference-transaction"):
        (upstream.bare / "hooks" / name).unlink(missing_ok=True)
        (upstream.bare / "hooks" / name).symlink_to(trap)
    files = {"hooks/post-checkout": f"#!/bin/sh\n{trap}\n", "config": f"[core]\nfsmonitor={trap}\n"}
    upstream.commit(files)
    trap.with_name("trap-ran").unlink(missing_ok=True)
    tree = await checked_out(follow)
    assert (tree / "config").read_text() == files["config"]
    assert not trap.with_name("trap-ran").exists()


def commit_raw(upstream: servers.Upstream, *entries: tuple[str, str]) -> None:
    """A commit of a tree that git itself wouldn't write: each entry's mode and name, and what it is of main's."""
    raw = b""
    for entry, of in entries:
        raw += entry.encode() + b"\0" + bytes.fromhex(servers.git("rev-parse", f"main:{of}", cwd=upstream.bare))
    (upstream.tree / "raw").write_bytes(raw)
    written = ("hash-object", "--literally", "-t", "tree", "-w", f"{upstream.tree}/raw")
    tree = servers.git(*written, cwd=upstream.bare)
    names = {"GIT_AUTHOR_NAME": "Ann Author", "GIT_AUTHOR_EMAIL": "ann@example.com"}
    commit = servers.git("commit-tree", "-m", "Raw", tree, cwd=upstream.bare, environ=names)
    servers.git("update-ref", "refs/heads/main", commit, cwd=upstream.bare)


async def test_a_tree_that_would_write_into_git_is_refused(upstream: servers.Upstream, follow: Follow) -> None:
    """What git's own checks call an attack isn't taken from any server."""
    commit_raw(upstream, ("100644 .git", "run.sh"))
    with pytest.raises(repository.FetchError) as error:
        await follow().fetch()
    assert error.value.reason == repository.Reason.INVALID_OBJECTS
    assert "hasDotgit" in str(error.value)


async def test_old_zero_padded_trees_are_taken(upstream: servers.Upstream, follow: Follow) -> None:
    """Old tools wrote them; they do no harm."""
    commit_raw(upstream, ("040000 desired_state", "desired_state"), ("100644 run.sh", "run.sh"))
    assert sorted(path.name for path in (await checked_out(follow)).iterdir()) == ["desired_state", "run.sh"]


async def test_words_of_a_commit_dont_steer_a_terminal(upstream: servers.Upstream, follow: Follow) -> None:
    upstream.commit({}, "Red \x1b[31m alert", author="Ann\x1b[2J <ann@example.com>")
    commit = (await follow().fetch()).commit
    assert (commit.subject, commit.author) == ("Red [31m alert", "Ann[2J")
