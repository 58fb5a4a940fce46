"""`acaops rollout`: what people see of a rollout, and what they decide about it, from Azure alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from controller import releasing, settings
from infra.local_azure import faults
from tests.reconcile.stack import Stack, app, environment

BAD = app(env=[{"name": "MODE", "value": "bad"}, {"name": "LOCAL_AZURE_SIMULATE", "value": "crash"}])
NEW = app(env=[{"name": "MODE", "value": "new"}])


@pytest.fixture
async def rolled(stack: Stack) -> Stack:
    """A second release serves."""
    await stack.converge()
    stack.write(environment(), NEW)
    await stack.converge()
    return stack


def chosen(stack: Stack, **given: Any) -> settings.Settings:
    return settings.Settings(stack.folder, cloud=stack.local.url, inventory="one", **given)


async def mode(stack: Stack) -> str | None:
    return (await stack.env())["MODE"]


async def test_people_go_back_and_try_again(rolled: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """The desired state stays as it is; the controller does the rest, and nothing happens twice. Nothing at all is
    written to the share for it."""
    since = len(rolled.writes())
    assert await releasing.undo(chosen(rolled), "chat") == 0
    assert "chat goes back from release" in capsys.readouterr().out
    for _ in range(6):
        await rolled.one_round()
    assert await mode(rolled) == "chat"
    kind, reason, message = rolled.told()
    assert (kind, reason) == ("Stalled", "Rejected")
    assert "was rejected: Undone" in message
    assert await releasing.undo(chosen(rolled), "chat") == 1
    assert "was rejected already: Undone" in capsys.readouterr().err
    assert [path for _, path in rolled.writes()[since:] if not path.startswith("/subscriptions")] == []
    assert await releasing.retry(chosen(rolled), "chat") == 0
    await rolled.converge()
    assert (await mode(rolled), (await rolled.env())["ACAOPS_ATTEMPT"]) == ("new", "2")
    assert await releasing.retry(chosen(rolled), "chat") == 1
    assert "isn't rejected" in capsys.readouterr().err


async def test_the_standing_is_told(rolled: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs; the exit status says whether the wanted release serves."""
    assert await releasing.status(chosen(rolled), "chat", output="text") == 0
    assert "Done" in capsys.readouterr().out
    await releasing.undo(chosen(rolled), "chat")
    capsys.readouterr()
    assert await releasing.status(chosen(rolled), "chat", output="json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["rejection"], told["strategy"], told["attempt"]) == ("Undone", "Rolling", 1)
    assert told["wanted"] != told["serving"]


async def test_the_history_is_what_azure_keeps(rolled: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Newest first, with what is rejected."""
    await releasing.undo(chosen(rolled), "chat")
    capsys.readouterr()
    assert await releasing.history(chosen(rolled), "chat", output="json") == 0
    new, old = json.loads(capsys.readouterr().out)["revisions"]
    assert (new["wanted"], new["rejection"], new["active"], new["traffic"]) == (True, "Undone", True, 100)
    assert (old["wanted"], old["rejection"], old["active"]) == (False, None, False)
    assert await releasing.history(chosen(rolled), "chat", output="text") == 0
    assert "rejected: Undone" in capsys.readouterr().out


async def test_the_history_tells_why_releases_failed(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """From the app's share, whoever judged them, and also when Azure lists the revision no more."""
    await stack.converge()
    stack.write(environment(), BAD)
    await stack.settle()
    capsys.readouterr()
    assert await releasing.history(chosen(stack), "chat", output="json") == 0
    listed = json.loads(capsys.readouterr().out)["revisions"]
    failed = [one for one in listed if one["failures"]]
    assert [(one["attempt"], one["listed"]) for one in failed] == [(2, True), (1, True)]
    (why,) = failed[0]["failures"]
    assert (why["cause"], failed[0]["rejection"]) == ("CommandFailed", "CommandFailed")
    assert all(why[each] for each in ("message", "evidence", "log", "when"))
    path = stack.share / ".acaops/one/chat/failures.json"
    path.write_text(path.read_text().replace(failed[0]["revision"], "chat--long-gone"))
    assert await releasing.history(chosen(stack), "chat", output="text") == 0
    told = capsys.readouterr()
    assert re.search(r"chat--long-gone +\w+ +gone +0 % +wanted, attempt 2, rejected: CommandFailed", told.out)
    assert re.search(r"chat--long-gone +CommandFailed: revision chat--long-gone is Failed", told.out)
    assert "chat--long-gone failed last; -o json tells its evidence and its log" in told.err


async def test_the_standing_tells_why_it_was_rejected(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Although another release serves since."""
    await stack.converge()
    stack.write(environment(), BAD)
    await stack.settle()
    capsys.readouterr()
    assert await releasing.status(chosen(stack), "chat", output="json") == 1
    told = json.loads(capsys.readouterr().out)
    failure = stack.status().failure
    assert failure is not None
    assert (told["evidence"], told["log"]) == (list(failure.evidence), list(failure.log))


async def test_a_share_that_can_not_be_asked(rolled: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """The history is told all the same, and a warning."""
    rolled.local.server.faults.rules.append(faults.Rule(r"failures\.json", status=403, code="AuthorizationFailure"))
    assert await releasing.history(chosen(rolled), "chat", output="json") == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)["revisions"]) == 2
    assert "warning: what is known of failures can't be told" in told.err


async def test_what_can_not_be_decided_is_refused(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown name, an app that isn't there, nothing to go back to, somebody else's app, mode Observe."""
    assert await releasing.undo(chosen(stack), "nobody") == 1
    assert "no object is called 'nobody'" in capsys.readouterr().err
    assert await releasing.undo(chosen(stack), "chat") == 1
    assert "has no container app yet" in capsys.readouterr().err
    await stack.converge()
    assert await releasing.undo(chosen(stack), "chat") == 1
    assert "nothing to go back to" in capsys.readouterr().err
    stack.write(environment(), NEW)
    await stack.converge()
    written = stack.writes()
    assert await releasing.undo(chosen(stack, allow=("elsewhere",)), "chat") == 1
    assert "not among the groups" in capsys.readouterr().err
    stack.write(environment(), {**NEW, "spec": {**NEW["spec"], "mode": "Observe"}})
    assert await releasing.undo(chosen(stack), "chat") == 1
    assert "mode Observe" in capsys.readouterr().err
    (stack.folder / "state.yaml").write_text("kind: nothing")
    assert await releasing.status(chosen(stack), "chat", output="text") == 1
    assert stack.writes() == written
