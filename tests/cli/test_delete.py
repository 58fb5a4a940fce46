"""What the command deletes: `acaops delete`, and `plan` and `once` with --prune."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from controller import cli, deleting, election, pruning
from infra.local_azure import faults
from tests.cli.conftest import YAML, Command, Served, State

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-cli"
ALLOW = ("--allow", f"{SUBSCRIPTION}/rg-cli")
PRUNE = ("--prune", "--inventory", "one", *ALLOW)
ENVIRONMENT, _, APP = YAML.partition("---\n")
DELETABLE = ENVIRONMENT + "  deletionPolicy: Delete\n"
TALK = APP.replace("name: chat", "name: talk").replace("spec:\n", "spec:\n  appName: talk\n")
BUILT = f"{DELETABLE}---\n{APP}---\n{TALK}"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "LOOK_SECONDS", 0.02)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of an Azure that holds an Environment with policy Delete and two apps, of inventory one."""
    root = tmp_path_factory.mktemp("built")
    acaops, state, served = Command(), State(root), Served(root / "azure")
    acaops.env |= served.environment
    state.write(BUILT)
    told = acaops("once", state.folder, "--inventory", "one")
    served.close()
    assert told.exit_code == 0, told.output
    return root / "azure"


@pytest.fixture
def azure(acaops: Command, built_once: Path, tmp_path: Path) -> Iterator[Served]:
    """A copy of it."""
    shutil.copytree(built_once, tmp_path / "azure")
    served = Served(tmp_path / "azure")
    acaops.env |= {**served.environment, "ACAOPS_INVENTORY": "one"}
    yield served
    served.close()


@pytest.fixture
def built(state: State) -> State:
    """The state folder that it was built from."""
    state.write(BUILT)
    return state


def deletes(azure: Served) -> list[str]:
    """The kinds of what was deleted, in order."""
    return [one.split("/")[-2].lower() for one in azure.writes if one.startswith("DELETE")]


def answering(acaops: Command, *words: str | Path, answer: str) -> Result:
    """As on a terminal."""
    return CliRunner(env=acaops.env).invoke(cli.app, [str(one) for one in words], input=answer, catch_exceptions=False)


def test_plan_shows_what_would_be_pruned(acaops: Command, azure: Served, built: State) -> None:
    """A line for each deletion, none of which is made; exit status 2."""
    built.write(f"{DELETABLE}---\n{APP}")
    assert acaops("plan", built.folder).stdout == "nothing to change\n"
    told = acaops("plan", built.folder, *PRUNE)
    assert told.exit_code == 2, told.output
    assert told.stdout == "- InferenceApp/talk  Delete containerApp talk  (no longer desired)\n1 to write\n"
    (step,) = json.loads(acaops("plan", built.folder, *PRUNE, "-o", "json").stdout)["InferenceApp/talk"]
    assert (step["step"], step["name"], step["verb"], step["blocked"]) == ("containerApp", "talk", "Delete", None)
    assert deletes(azure) == []


def test_plan_says_why_nothing_would_be_pruned(acaops: Command, azure: Served, built: State) -> None:
    """More than half at once is an error until it is allowed."""
    built.write(DELETABLE)
    told = acaops("plan", built.folder, *PRUNE)
    assert told.exit_code == 1
    assert "2 of 3 objects of inventory one would be deleted, more than half" in told.stdout
    assert acaops("plan", built.folder, *PRUNE, "--allow-mass-delete").exit_code == 2


def test_once_prunes_and_waits(acaops: Command, azure: Served, built: State) -> None:
    """After everything is Ready; without the flag nothing goes."""
    built.write(f"{DELETABLE}---\n{APP}")
    assert acaops("once", built.folder).exit_code == 0
    assert deletes(azure) == []
    told = acaops("once", built.folder, *PRUNE)
    assert (told.exit_code, deletes(azure)) == (0, ["containerapps"]), told.output
    assert acaops("plan", built.folder, *PRUNE).stdout == "nothing to change\n"


def test_once_says_what_it_did_not_prune(acaops: Command, azure: Served, built: State) -> None:
    """A mass is an error, what stays by its policy a note."""
    built.write(DELETABLE)
    told = acaops("once", built.folder, *PRUNE)
    assert told.exit_code == 1
    assert "error: InferenceApp/talk: containerApp talk stays for now: 2 of 3 objects" in told.stderr
    built.write(f"{DELETABLE}---\n{APP}---\n{TALK}  deletionPolicy: Retain\n")
    assert acaops("once", built.folder).exit_code == 0
    built.write(f"{DELETABLE}---\n{APP}")
    kept = acaops("once", built.folder, *PRUNE)
    assert kept.exit_code == 0
    assert "note: InferenceApp/talk: containerApp talk stays: deletionPolicy Retain" in kept.stderr
    assert deletes(azure) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--prune", *ALLOW), "--prune needs inventory: a name of its own"),
        (("--prune", "--inventory", "default", *ALLOW), "--prune needs inventory: a name of its own"),
        (("--prune", "--inventory", "one"), "--prune needs allow: the subscriptions or resource groups to look in"),
    ],
)
def test_pruning_needs_a_name_and_a_place(acaops: Command, state: State, words: tuple[str, ...], problem: str) -> None:
    """Refused before anything is asked."""
    told = acaops("once", state.folder, *words)
    assert told.exit_code == 1
    assert f"error: {problem}" in told.stderr


def test_an_app_is_deleted(acaops: Command, azure: Served, built: State) -> None:
    """Whatever its policy; what goes, what stays and that it will come again is told. A second time is none."""
    told = acaops("delete", "talk", "--folder", built.folder, "--yes")
    assert told.exit_code == 0, told.output
    assert told.stdout == "InferenceApp/talk: containerApp talk was deleted\n"
    assert "note: InferenceApp/talk: what it published on the share stays" in told.stderr
    assert (
        "warning: InferenceApp/talk: it is in the desired state: a running controller will make it again" in told.stderr
    )
    assert deletes(azure) == ["containerapps"]
    again = acaops("delete", "talk", "--folder", built.folder)
    assert (again.exit_code, again.stdout) == (0, "InferenceApp/talk: nothing is there to delete\n")


def test_an_app_that_is_no_longer_desired_is_deleted(acaops: Command, azure: Served, built: State) -> None:
    """Found by its tag in the guard list's groups; Retain doesn't keep it from somebody who asks."""
    built.write(f"{DELETABLE}---\n{APP}---\n{TALK}  deletionPolicy: Retain\n")
    assert acaops("once", built.folder).exit_code == 0
    built.write(f"{DELETABLE}---\n{APP}")
    told = acaops("delete", "talk", "--folder", built.folder, *ALLOW, "--yes", "-o", "json")
    assert told.exit_code == 0, told.output
    (one,) = json.loads(told.stdout)["resources"]
    assert (one["step"], one["state"]) == ("containerApp", "Deleted")
    assert "a running controller" not in told.stderr


def test_an_environment_goes_by_its_own_policy(acaops: Command, azure: Served, built: State) -> None:
    """The desired state's word counts before the tag's; with Delete it goes from the top."""
    built.write(ENVIRONMENT)
    kept = acaops("delete", "west", "--folder", built.folder)
    assert kept.exit_code == 0, kept.output
    assert kept.stdout.count("stays: deletionPolicy Retain") == 3
    for name in ("chat", "talk"):
        assert acaops("delete", name, "--folder", built.folder, *ALLOW, "--yes").exit_code == 0
    built.write(DELETABLE)
    told = acaops("delete", "west", "--folder", built.folder, "--yes")
    assert told.exit_code == 0, told.output
    assert deletes(azure) == [*["containerapps"] * 2, "managedenvironments", "workspaces", "shares", "storageaccounts"]


def test_an_environment_in_use_is_not_waited_for(acaops: Command, azure: Served, built: State) -> None:
    """It says who stands in it, and exits with 1."""
    told = acaops("delete", "west", "--folder", built.folder, "--yes")
    assert told.exit_code == 1
    assert "is not gone: still in use by" in told.stderr
    assert deletes(azure) == []


def test_without_a_yes_nothing_goes(acaops: Command, azure: Served, built: State, monkeypatch: Any) -> None:
    """Where nobody can be asked --yes is needed; on a terminal the answer counts."""
    told = acaops("delete", "talk", "--folder", built.folder)
    assert told.exit_code == 1
    assert "error: nobody can be asked here: --yes deletes without a question" in told.stderr
    monkeypatch.setattr(deleting, "terminal", lambda: True)
    for answer in ("\n", "n\n", ""):
        no = answering(acaops, "delete", "talk", "--folder", built.folder, answer=answer)
        assert (no.exit_code, no.stdout) == (1, "")
        assert "Delete InferenceApp/talk? [y/N]" in no.stderr
    assert deletes(azure) == []
    assert answering(acaops, "delete", "talk", "--folder", built.folder, answer="y\n").exit_code == 0
    assert deletes(azure) == ["containerapps"]


def test_somebody_elses_is_refused(acaops: Command, azure: Served, built: State) -> None:
    """By name of the owner, whether the object is desired here or not."""
    for folder in (built.folder, built.folder / "nowhere"):
        told = acaops("delete", "talk", "--folder", folder, *ALLOW, "--inventory", "two", "--yes")
        assert told.exit_code == 1
        assert "belongs to one/InferenceApp/talk (tag acaops-owner)" in told.stderr
    assert deletes(azure) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("nothing", *ALLOW), "no object is called 'nothing': not in the desired state, and by no tag in"),
        (("nothing",), "it isn't said where to look: name the subscription or the resource group by --allow"),
        (("chat", "--kind", "Environment"), "no object is called 'chat': not in the desired state, and by no tag in"),
        (("chat", "--allow", f"{SUBSCRIPTION}/rg-else"), "rg-cli is not among the groups this controller may touch"),
    ],
)
def test_what_can_not_be_found(
    acaops: Command, azure: Served, state: State, words: tuple[str, ...], problem: str
) -> None:
    """It says where it looked."""
    told = acaops("delete", *words, "--folder", state.folder, "--yes")
    assert told.exit_code == 1
    assert problem in told.stderr


def test_two_kinds_of_one_name(acaops: Command, azure: Served, state: State) -> None:
    """The kind must be said."""
    state.write(f"{ENVIRONMENT}---\n{APP}".replace("name: chat", "name: west"))
    told = acaops("delete", "west", "--folder", state.folder, "--yes")
    assert told.exit_code == 1
    assert "error: west is Environment and InferenceApp; say which by --kind" in told.stderr
    assert acaops("delete", "west", "--kind", "environment", "--folder", state.folder, "--yes").exit_code == 0


def test_the_end_is_not_waited_for_for_ever(acaops: Command, azure: Served, built: State) -> None:
    """It says what isn't gone; Azure goes on."""
    azure.server.faults.rules.append(faults.Rule("containerApps/talk$", "DELETE", does="stuck"))
    told = acaops("delete", "talk", "--folder", built.folder, "--yes", "--timeout", "1")
    assert told.exit_code == 1
    assert "error: containerApp talk is not gone: containerApp talk is being deleted" in told.stderr


def test_a_refusal_of_azure_is_told(acaops: Command, azure: Served, built: State) -> None:
    """A lock, for example."""
    rule = faults.Rule("containerApps/talk$", "DELETE", status=409, code="ScopeLocked", message="There is a lock.")
    azure.server.faults.rules.append(rule)
    told = acaops("delete", "talk", "--folder", built.folder, "--yes")
    assert told.exit_code == 1
    assert "error: containerApp talk is not gone: There is a lock" in told.stderr


def test_a_broken_desired_state_is_no_hindrance(acaops: Command, azure: Served, built: State) -> None:
    """The tags alone count then."""
    built.write("kind: [")
    told = acaops("delete", "talk", "--folder", built.folder, *ALLOW, "--yes")
    assert told.exit_code == 0, told.output
    assert "warning: the desired state doesn't load, tags alone count: " in told.stderr
    assert deletes(azure) == ["containerapps"]


def test_who_holds_the_lease_alone_deletes(
    acaops: Command, azure: Served, built: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another leads: its name is told, exit status 75."""

    async def elsewhere(self: election.Election, lease: object) -> bool:
        return False

    monkeypatch.setattr(election.Election, "_acquired", elsewhere)
    share = f"{azure.server.url}/accountone/lease"
    told = acaops("delete", "talk", "--folder", built.folder, "--yes", "--lease", share)
    assert (told.exit_code, deletes(azure)) == (75, []), told.output


def test_what_is_told_of_each() -> None:
    """In words of people: what is going, waiting, held or kept."""
    kept = {"kind": "Environment", "name": "west", "step": "workspace", "resource": "/x/logs", "state": "Kept"}
    assert pruning.lines(
        [{**kept, "message": "deletionPolicy Retain"}, {**kept, "state": "Deleting", "message": ""}]
    ) == [
        "Environment/west: workspace logs stays: deletionPolicy Retain",
        "Environment/west: workspace logs is being deleted",
    ]
    assert pruning.lines([{**kept, "resource": "", "message": "why"}]) == ["pruning: why"]
