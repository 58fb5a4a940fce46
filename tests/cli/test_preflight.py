"""`acaops plan` says before anything is touched what Azure would refuse, and what may not be meant."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from controller import preflighting
from infra.local_azure import faults
from infra.local_azure.apps import environments, profiles
from tests.cli.conftest import Command, Served, State

GPU = "{name: GPU, type: NC24-A100, minimumCount: 0, maximumCount: 2}"
T4 = "{name: T4, type: Consumption-GPU-NC8as-T4}"
ASKED = ("checkNameAvailability", "usages", "availableManagedEnvironmentsWorkloadProfileTypes")


def on_gpus(state: State, *, profile: str = GPU, name: str = "GPU") -> None:
    """The app on a profile of its own."""
    state.change("  location: westus3\n", f"  location: westus3\n  containerApps: {{workloadProfiles: [{profile}]}}\n")
    state.change("workloadProfileName: Consumption", f"workloadProfileName: {name}")


def asked(azure: Served) -> list[str]:
    """What the preflight asked, by its last word."""
    return [one.rpartition("/")[2] for one in azure.requests if one.endswith(ASKED)]


def lines(told: Any) -> list[str]:
    return [line for line in told.stderr.splitlines() if line.startswith(("error: ", "warning: ", "note: "))]


def test_where_all_is_well_nothing_is_said(acaops: Command, azure: Served, state: State) -> None:
    """Each thing is asked once, and nothing is written."""
    on_gpus(state)
    told = acaops("plan", state.folder)
    assert (told.exit_code, told.stderr) == (2, "")
    assert sorted(asked(azure)) == sorted(ASKED)
    assert azure.writes == []


def test_a_settled_stack_is_asked_nothing(acaops: Command, azure: Served, state: State) -> None:
    """Neither the quotas, nor again what was taken once; nor for a change that takes no more."""
    assert acaops("once", state.folder).exit_code == 0
    assert acaops("plan", state.folder).stderr == ""
    (state.content / "serve.py").write_text("print('hello again')\n")
    told = acaops("plan", state.folder)
    assert (told.exit_code, told.stderr) == (2, "")
    assert asked(azure) == []


def test_what_cannot_work(acaops: Command, azure: Served, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is shown, then each error at its object with the value and the remedy; exit status 1."""
    without = dataclasses.replace(profiles.TYPES["nc24-a100"], listed=False)
    monkeypatch.setitem(profiles.TYPES, "nc24-a100", without)
    monkeypatch.setattr(environments.Environments, "gpu_limit", 0)
    on_gpus(state)
    (state.content / "adapter_config.json").write_text("{nope")

    told = acaops("plan", state.folder)

    assert told.exit_code == 1
    assert told.stdout.splitlines()[-1] == "9 to write"
    region, quota, adapter = lines(told)
    environment, app = (f"error: {state.file}:{line}:1: " for line in (1, 10))
    assert region.startswith(
        f"{environment}spec.containerApps.workloadProfiles[0].type: region westus3 has no NC24-A100"
    )
    assert "D4, D8," in region
    assert quota.startswith(f"{environment}spec.containerApps.workloadProfiles[0] (GPU, NC24-A100): up to 2 GPUs more")
    assert "0 of 0 in use (SubscriptionDedicatedNCA100Gpus)" in quota
    assert adapter.startswith(f"{app}{state.content}/adapter_config.json: isn't JSON")
    assert azure.writes == []


def test_a_name_that_is_taken(acaops: Command, azure: Served, state: State) -> None:
    """Storage accounts are named once in the whole of Azure."""
    assert acaops("once", state.folder).exit_code == 0
    (taken,) = [one.rpartition("/")[2] for one in azure.writes if "/storageAccounts/" in one and "/file" not in one][:1]
    state.change("rg-cli", "rg-other")
    state.change("  location: westus3\n", f"  location: westus3\n  storage: {{accountName: {taken}}}\n")

    told = acaops("plan", state.folder)

    assert told.exit_code == 1
    (line,) = lines(told)
    assert line.startswith(f"error: {state.file}:1:1: storage account '{taken}' can't be created: ")
    assert line.endswith("already taken; set spec.storage.accountName to another name")


def test_what_may_not_be_meant(acaops: Command, azure: Served, state: State) -> None:
    """Warnings change no exit status."""
    on_gpus(state, profile=GPU.replace("maximumCount: 2", "maximumCount: 1"))
    state.change("cpu: 0.5, memory: 1Gi", "cpu: 24, memory: 220Gi")
    state.change("python:3.12", "python")
    state.change("commands: [", "commands: [pip install -r inference/requirements.txt, ")
    told = acaops("plan", state.folder)
    assert told.exit_code == 2
    assert [line.partition(".yaml:10:1: ")[2].partition(":")[0] for line in lines(told)] == [
        "spec.image",
        "workload profile GPU (NC24-A100) of Environment west",
        "spec.commands[0]",
    ]


def test_quota_of_an_environment_that_is_there(acaops: Command, azure: Served, state: State) -> None:
    """Serverless GPUs count per environment; the old revision holds on to its own until the new one serves. Two apps
    ask once."""
    on_gpus(state, profile=T4, name="T4")
    app = state.file.read_text().partition("---")[2].replace("{name: chat}", "{name: other}")
    state.write(f"{state.file.read_text()}---{app}  appName: other\n")
    assert acaops("once", state.folder).exit_code == 0
    before = len(asked(azure))
    state.write(state.file.read_text().replace("minReplicas: 1, maxReplicas: 1", "minReplicas: 4, maxReplicas: 5"))

    told = acaops("plan", state.folder)

    assert told.exit_code == 2
    assert asked(azure)[before:] == ["usages"]
    first, second = (line for line in lines(told) if line.startswith("warning: "))
    assert first.startswith(
        f"warning: {state.file}:10:1: workload profile T4 (Consumption-GPU-NC8as-T4): a new revision"
    )
    assert "needs 4 GPUs, the environment has 3 left: 2 of 5 in use (ManagedEnvironmentConsumptionT4Gpus)" in first
    assert second.startswith(f"warning: {state.file}:22:1: ")


def test_a_model_that_is_not_on_the_share(acaops: Command, azure: Served, state: State) -> None:
    """Its upload may come later: it is told, the app's step waits, and the exit status is that of changes."""
    assert acaops("once", state.folder).exit_code == 0
    state.change("  commands:", "  model: {base: models/phi, adapter: models/pirate}\n  commands:")
    told = acaops("plan", state.folder)
    assert told.exit_code == 2
    place = f"warning: {state.file}:9:1: spec.model"
    assert lines(told) == [
        f"{place}.base: models/phi isn't on the share, or is empty; upload it: the release waits for it",
        f"{place}.adapter: models/pirate isn't on the share, or is empty; upload it: the release waits for it",
    ]
    assert "waiting for the model: spec.model.base: models/phi isn't on the share" in told.stdout


def test_what_a_rollout_will_do(acaops: Command, azure: Served, state: State) -> None:
    """By what is live: another revision mode, and sessions that stick."""
    assert acaops("once", state.folder).exit_code == 0
    state.change("maxReplicas: 1", "maxReplicas: 2")
    assert [line.partition(".yaml:9:1: ")[2][:60] for line in lines(acaops("plan", state.folder))] == [
        "spec.scale.maxReplicas: 2: sticky sessions are set, so that "
    ]
    state.change("maxReplicas: 2", "maxReplicas: 1")
    state.change("  scale: ", "  rollout: {strategy: BlueGreen}\n  scale: ")
    assert [line.partition(".yaml:9:1: ")[2][:60] for line in lines(acaops("plan", state.folder))] == [
        "spec.rollout.strategy: BlueGreen: the revision mode Single b"
    ]


def test_azure_does_not_answer_in_time(
    acaops: Command, azure: Served, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is there in seconds, and says what it doesn't know."""
    monkeypatch.setattr(preflighting, "SECONDS", 0.0)
    told = acaops("plan", state.folder)
    assert told.exit_code == 2
    assert [line.rpartition(": ")[2] for line in lines(told)] == ["no answer in 0 s"] * 3


def test_a_reader_is_told_what_is_unknown(acaops: Command, azure: Served, state: State) -> None:
    """What may not be read is no error; the permission is named."""
    for path in ("checkNameAvailability$", "/usages$"):
        rule = faults.Rule(path, status=403, code="AuthorizationFailed", message="The client may not do that.")
        azure.server.faults.rules.append(rule)
    told = acaops("plan", state.folder)
    assert told.exit_code == 2
    assert lines(told) == [
        f"note: {state.file}:1:1: unknown: whether the storage account's name is free: needs "
        "Microsoft.Storage/checknameavailability/read",
        f"note: {state.file}:1:1: unknown: what quota is left in the region: needs Microsoft.App/locations/usages/read",
    ]


@pytest.mark.parametrize(
    ("status", "code", "level", "told"),
    [
        pytest.param(409, "MissingSubscriptionRegistration", "note", "it will be registered", id="unregistered"),
        pytest.param(400, "NoRegisteredProviderFound", "error", "spec.location: westus3: no: eastus only", id="region"),
    ],
)
def test_the_provider_or_the_region_is_not_there(
    acaops: Command, azure: Served, state: State, *, status: int, code: str, level: str, told: str
) -> None:
    """Said once, though two questions found it out."""
    azure.server.faults.rules.append(
        faults.Rule("Microsoft.App/locations/", status=status, code=code, message="no: eastus only")
    )
    planned = acaops("plan", state.folder)
    (line,) = lines(planned)
    assert line.startswith(f"{level}: ")
    assert told in line
    assert planned.exit_code == (1 if level == "error" else 2)


def test_for_programs(acaops: Command, azure: Served, state: State) -> None:
    """Findings stand after the steps, with every key that a step has; standard error says them too."""
    state.change("python:3.12", "python:latest")
    told = acaops("plan", state.folder, "-o", "json")
    assert told.exit_code == 2
    plan = json.loads(told.stdout)
    *steps, finding = plan["InferenceApp/chat"]
    assert {one["step"] for one in steps} == {"content", "containerApp"}
    assert set(steps[0]) <= set(finding)
    assert (finding["step"], finding["name"], finding["level"]) == ("preflight", "image", "warning")
    assert (finding["verb"], finding["blocked"], finding["changes"]) == (None, None, [])
    assert lines(told) == [f"warning: {finding['place']}: {finding['message']}"]
