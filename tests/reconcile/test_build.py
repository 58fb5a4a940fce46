"""From nothing to everything, and then to quiet."""

from __future__ import annotations

import subprocess

from tests.reconcile.stack import APP, ENVIRONMENT, Stack

ORDER = [
    "resourcegroups/rg-one",
    "storageAccounts/accountone",
    "workspaces/logs-one",
    "shares/models",
    "managedEnvironments/env-one",
    "storages/mount",
    "containerApps/chat",
]


async def test_everything_is_built_from_nothing(stack: Stack) -> None:
    """One Environment and one InferenceApp come to a whole stack, each resource created once, owners on their tags."""
    await stack.converge()
    puts = [path for method, path in stack.writes() if method == "PUT" and path.startswith("/subscriptions")]
    made = [next((name for name in ORDER if path.endswith(name)), path) for path in puts]
    assert sorted(ORDER) == sorted(made)
    assert made.index("managedEnvironments/env-one") < made.index("storages/mount") < made.index("containerApps/chat")
    for resource in (stack.ids.account, stack.ids.workspace, stack.ids.environment):
        tags = (await stack.arm("GET", resource))["tags"]
        assert (tags["acaops-owner"], tags["acaops-origin"]) == ("one/Environment/gpu-west", "created")
    assert (await stack.live_app())["tags"]["acaops-owner"] == "one/InferenceApp/chat"


async def test_the_status_names_release_revision_and_endpoint(built: Stack) -> None:
    """Once Ready, the status says what serves, where, and that it is the wanted release."""
    status, (revision,) = built.status(), await built.revisions()
    fqdn = (await built.live_app())["properties"]["configuration"]["ingress"]["fqdn"]
    assert status.endpoint == f"https://{fqdn}"
    assert status.release == (await built.env())["ACAOPS_RELEASE"]
    assert [(entry.release, entry.revision, entry.result) for entry in status.history] == [
        (status.release, revision["name"], "Ready")
    ]
    assert built.status().source_revision.startswith("files:")


async def test_a_second_pass_writes_nothing(built: Stack) -> None:
    """At the wire and by the adapter's count, for a controller that remembers nothing."""
    written, counted = built.writes(), (built.cloud.writes.arm, built.cloud.writes.share)
    built.restart()
    await built.one_round()
    assert (written, counted) == (built.writes(), (built.cloud.writes.arm, built.cloud.writes.share))
    assert [built.told(key)[:2] for key in (ENVIRONMENT, APP)] == [("Ready", "Ready")] * 2
    assert built.requeues[APP].kind == "interval"


async def test_looking_writes_nothing(stack: Stack) -> None:
    """A read-only pass over nothing tells what is missing and leaves Azure empty."""
    for key in stack.source.keys:
        await stack.reconciler.observe(stack.source, key)
    assert stack.writes() == []
    assert stack.told(ENVIRONMENT)[:2] == ("Reconciling", "Progressing")
    assert all(step.verb == "" for step in stack.status(ENVIRONMENT).resources)


async def test_the_commit_is_told_with_the_change_it_made(stack: Stack) -> None:
    """In a clean work tree the app's tag and the status name HEAD; a commit alone writes nothing."""

    def git(*words: str) -> str:
        call = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(stack.root), *words]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    await stack.converge()
    assert (await stack.live_app())["tags"]["acaops-commit"] == first
    written = stack.writes()
    git("commit", "-q", "--allow-empty", "-m", "two")
    await stack.one_round()
    assert written == stack.writes()
    told = stack.status().applied
    assert told is not None
    assert (told.sha, told.subject) == (git("rev-parse", "HEAD"), "two")
    assert told == stack.status().attempted
