"""What a ref comes to: branches, tags, full refs, commits; and what is said when it moves or goes."""

from __future__ import annotations

import pytest

from controller.sources import mirror, repository
from tests.git import servers
from tests.git.conftest import Follow


async def refused(one: repository.Repository) -> repository.FetchError:
    with pytest.raises(repository.FetchError) as error:
        await one.fetch()
    return error.value


async def test_a_branch_is_followed(upstream: servers.Upstream, follow: Follow) -> None:
    """The commit is told with its author, subject and time; the next one is found too."""
    one = follow()
    first = (await one.fetch()).commit
    assert first.as_json() == {
        "sha": upstream.sha,
        "author": "Ann Author",
        "subject": "First",
        "time": "2026-09-21T14:13:22Z",
    }
    sha = upstream.commit({"run.sh": "echo 2\n"}, "Second")
    fetched = await one.fetch()
    assert (fetched.commit.sha, fetched.commit.subject, fetched.rewritten) == (sha, "Second", None)


async def test_a_revert_is_a_commit_like_others(upstream: servers.Upstream, follow: Follow) -> None:
    one = follow()
    upstream.commit({"run.sh": "exit 1\n"}, "Bad")
    await one.fetch()
    sha = upstream.revert()
    fetched = await one.fetch()
    tree = await one.materialise(fetched.commit)
    assert (fetched.commit.sha, fetched.rewritten) == (sha, None)
    assert (tree / "run.sh").read_text() == "echo\n"


@pytest.mark.parametrize("annotated", [False, True])
async def test_a_tag_is_its_commit(upstream: servers.Upstream, follow: Follow, *, annotated: bool) -> None:
    """Also where it has a message and a sha of its own, and once it is moved."""
    upstream.tag("v1", annotated=annotated)
    one = follow(ref="v1")
    assert (await one.fetch()).commit.sha == upstream.sha
    upstream.commit({"run.sh": "echo 2\n"})
    upstream.tag("v1", annotated=annotated)
    assert (await one.fetch()).commit.sha == upstream.sha


async def test_a_full_ref_is_taken_as_it_is(upstream: servers.Upstream, follow: Follow) -> None:
    servers.git("update-ref", "refs/pull/1/merge", upstream.sha, cwd=upstream.bare)
    assert (await follow(ref="refs/pull/1/merge").fetch()).commit.sha == upstream.sha


async def test_a_commit_is_fetched_by_its_sha(upstream: servers.Upstream, follow: Follow) -> None:
    """An older one, that no ref is at."""
    first = upstream.sha
    upstream.commit({"run.sh": "echo 2\n"})
    one = follow(ref=first)
    fetched = await one.fetch()
    assert fetched.commit.sha == first
    assert ((await one.materialise(fetched.commit)) / "run.sh").read_text() == "echo\n"


async def test_a_commit_that_isnt_there(follow: Follow) -> None:
    """The message says what a server may refuse."""
    error = await refused(follow(ref="1" * 40))
    assert error.reason == repository.Reason.REF_NOT_FOUND
    assert "commit 111111111111 isn't there, or the server gives only branches and tags" in str(error)


async def test_a_tree_isnt_a_commit(upstream: servers.Upstream, follow: Follow) -> None:
    servers.git("tag", "files", "main^{tree}", cwd=upstream.bare)
    error = await refused(follow(ref="files"))
    assert (error.reason, "files isn't a commit" in str(error)) == (repository.Reason.REF_NOT_FOUND, True)


async def test_a_deleted_branch(upstream: servers.Upstream, follow: Follow) -> None:
    """It is an error, not the last commit for ever."""
    upstream.create_branch("release")
    one = follow(ref="release")
    await one.fetch()
    upstream.delete_branch("release")
    error = await refused(one)
    assert error.reason == repository.Reason.REF_NOT_FOUND
    assert str(error).endswith("there is no 'release': not as refs/heads/release nor as refs/tags/release")


async def test_a_branch_and_a_tag_of_one_name(upstream: servers.Upstream, follow: Follow) -> None:
    """Neither is guessed; the full name is how one is told from the other."""
    upstream.tag("main")
    error = await refused(follow())
    assert error.reason == repository.Reason.REF_AMBIGUOUS
    assert "'main' is both refs/heads/main and refs/tags/main: use the full name" in str(error)
    assert (await follow(ref="refs/heads/main").fetch()).commit.sha == upstream.sha


async def test_the_end_of_another_name_isnt_the_name(upstream: servers.Upstream, follow: Follow) -> None:
    """git's own patterns would take it."""
    servers.git("update-ref", "refs/remotes/refs/heads/release", upstream.sha, cwd=upstream.bare)
    assert (await refused(follow(ref="release"))).reason == repository.Reason.REF_NOT_FOUND


async def test_rewritten_history_is_told(upstream: servers.Upstream, follow: Follow) -> None:
    """A force-push that leaves out the commit seen before: the new one is taken, and it is said, until the next."""
    upstream.commit({"run.sh": "echo 2\n"})
    one = follow()
    before = (await one.fetch()).commit.sha
    after = upstream.rewrite({"run.sh": "echo 3\n"})
    fetched = await one.fetch()
    told = f"{before[:12]}, seen before, isn't part of main any more"
    assert (fetched.commit.sha, fetched.rewritten) == (after, told)
    assert (await one.fetch()).rewritten == told
    upstream.commit({"run.sh": "echo 4\n"})
    assert (await one.fetch()).rewritten is None


async def test_a_branch_set_back_is_rewritten_history(upstream: servers.Upstream, follow: Follow) -> None:
    first = upstream.sha
    upstream.commit({"run.sh": "echo 2\n"})
    one = follow()
    await one.fetch()
    servers.git("update-ref", "refs/heads/main", first, cwd=upstream.bare)
    fetched = await one.fetch()
    assert (fetched.commit.sha, fetched.rewritten is None) == (first, False)


async def test_more_commits_than_are_fetched_arent_rewritten_history(
    upstream: servers.Upstream, follow: Follow
) -> None:
    """Where history is cut, nothing is claimed."""
    one = follow()
    await one.fetch()
    for _ in range(mirror.DEPTH + 3):
        upstream.work("commit", "-q", "--allow-empty", "-m", "One of many")
    sha = upstream.push()
    fetched = await one.fetch()
    assert (fetched.commit.sha, fetched.rewritten) == (sha, None)


async def test_an_unchanged_remote_costs_no_fetch(
    upstream: servers.Upstream, https: servers.Https, follow: Follow
) -> None:
    """Two requests, both of `ls-remote`, and a second repository at another ref doesn't disturb it."""
    one = follow(f"{https.url}/app.git")
    await one.fetch()
    upstream.tag("v1")
    await follow(f"{https.url}/app.git", ref="v1").fetch()
    https.requests.clear()
    await one.fetch()
    assert https.requests == ["GET /app.git/info/refs?service=git-upload-pack", "POST /app.git/git-upload-pack"]


async def test_a_local_work_tree_is_a_remote_too(upstream: servers.Upstream, follow: Follow) -> None:
    """A revision of one's own checkout, by any of its names, comes out as it was committed."""
    first = upstream.sha
    upstream.commit({"run.sh": "echo 2\n"})
    sha = await repository.commit_of(upstream.tree, "HEAD~1")
    assert sha == first == await repository.commit_of(upstream.tree, first[:10])
    one = follow(str(upstream.tree), ref=sha)
    tree = await one.materialise((await one.fetch()).commit)
    assert (tree / "run.sh").read_text() == "echo\n"


@pytest.mark.parametrize("rev", ["nope", "--help", "main:run.sh", ""])
async def test_a_revision_that_is_none(upstream: servers.Upstream, rev: str) -> None:
    with pytest.raises(repository.FetchError, match="there is no commit") as error:
        await repository.commit_of(upstream.tree, rev)
    assert error.value.reason == repository.Reason.REF_NOT_FOUND
