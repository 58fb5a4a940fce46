"""Azure fails in ways that pass: errors, broken connections, lost answers. Nothing is doubled or given up."""

from __future__ import annotations

import pytest

from controller.plan import actions
from infra.local_azure.faults import Rule
from tests.reconcile.clouds import Held
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment

SCALED = {"minReplicas": 1, "maxReplicas": 3}


@pytest.mark.parametrize("rule", [{"status": 500}, {"status": 503, "code": "ServiceUnavailable"}, {"does": "reset"}])
async def test_a_failed_write_is_tried_again(built: Stack, faults: list[Rule], rule: dict[str, object]) -> None:
    """One request a pass, the growing pause after each, and then it is done; one revision comes of it."""
    faults.append(Rule("/containerapps/chat$", "PATCH", times=2, **rule))  # type: ignore[arg-type]
    built.write(environment(), app(scale=SCALED))
    written = len(built.writes())
    for count in (1, 2):
        await built.one_pass(APP)
        assert built.told()[0] == "Reconciling"
        assert built.requeues[APP].kind == "backoff"
        assert len(built.writes()) == written + count
    await built.converge()
    assert len(built.writes()) == written + 3
    assert len(await built.revisions()) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/resourcegroups/rg-one$",
        "/storageaccounts/accountone$",
        "/workspaces/",
        "/managedenvironments/",
        "/shares/",
        "/containerapps/",
    ],
)
async def test_a_lost_answer_to_a_creation(stack: Stack, faults: list[Rule], path: str) -> None:
    """The resource is there although nobody said so: the next pass finds it. Nothing is asked for twice, but by the
    HTTP client, which repeats a PUT once where a connection kept open breaks."""
    faults.append(Rule(path, "PUT", does="lost", times=1))
    await stack.converge()
    assert faults[0].times == 0
    creations = {one for method, one in stack.writes() if method == "PUT" and one.startswith("/subscriptions")}
    updates = [one for method, one in stack.writes() if method == "PATCH"]
    assert stack.cloud.writes.arm == len(creations) + len(updates) == 8
    assert len(await stack.revisions()) == 1


async def test_a_lost_answer_to_an_update(built: Stack, faults: list[Rule]) -> None:
    """The change was made: one revision, no second update."""
    faults.append(Rule("/containerapps/chat$", "PATCH", does="lost", times=1))
    built.write(environment(), app(scale=SCALED))
    written = len(built.writes())
    await built.converge()
    assert len(built.writes()) == written + 1
    assert len(await built.revisions()) == 2


@pytest.mark.parametrize(
    "rule",
    [
        Rule("/models/.*comp=rename|/models/.acaops/one/chat/releases/[0-9a-f]", "PUT", does="lost", times=1),
        Rule("/models/.acaops/one/chat/releases/", "PUT", does="reset", times=1),
        Rule("/models/.acaops/one/chat/releases/", "PUT", status=503, code="ServerBusy", times=1),
    ],
    ids=["lost rename", "reset", "busy"],
)
async def test_a_share_that_fails(built: Stack, faults: list[Rule], rule: Rule) -> None:
    """The upload is carried through in the same pass; nothing temporary stays."""
    faults.append(rule)
    before = set(built.files())
    (built.code / "app.py").write_text("print('two')\n")
    await built.converge()
    assert rule.times == 0
    (added,) = set(built.files()) - before
    assert added.endswith(".tar.gz")
    assert ".acaops-" not in added


async def test_one_that_fails_does_not_hold_up_another(built: Stack, faults: list[Rule]) -> None:
    """An app that can't be read is told as such; the other one is built."""
    faults.append(Rule("/containerapps/chat", "GET"))
    built.write(environment(), app(), app("second"))
    for _ in range(4):
        await built.one_round()
    assert built.told(APP)[:2] == ("Reconciling", "AzureError")
    assert built.told(("InferenceApp", "second"))[0] == "Ready"
    assert built.told(ENVIRONMENT)[0] == "Ready"


async def test_a_step_that_fails_does_not_hold_up_another(stack: Stack, faults: list[Rule]) -> None:
    """The workspace can't be made; the account and the share are, in the same passes."""
    faults.append(Rule("/workspaces/", "PUT"))
    for _ in range(4):
        await stack.one_pass(ENVIRONMENT)
    assert stack.told(ENVIRONMENT)[:2] == ("Reconciling", "AzureError")
    assert await stack.arm("GET", stack.ids.share)
    assert await stack.arm("GET", stack.ids.environment) is None


async def test_an_unforeseen_error_in_a_step(built: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as an internal error of that step, and the steps beside it go on."""
    failing = built.cloud.update

    async def update(kind: object, resource_id: str, body: object) -> None:
        if resource_id == built.ids.workspace:
            raise RuntimeError("unforeseen")
        await failing(kind, resource_id, body)  # type: ignore[arg-type]

    monkeypatch.setattr(built.cloud, "update", update)
    built.write(environment(tags={"team": "one"}), app())
    await built.one_pass(ENVIRONMENT)
    assert built.told(ENVIRONMENT) == ("Reconciling", "InternalError", "workspace: RuntimeError: unforeseen")
    assert (await built.arm("GET", built.ids.account))["tags"]["team"] == "one"


async def test_a_write_that_never_lasts_is_not_a_race(built: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody undoes a write at once, it is repeated at the interval, not as fast as possible."""

    async def nothing(*_: object) -> None:
        pass

    storage = {**environment()["spec"]["storage"], "shareQuotaGiB": 2048}
    built.write(environment(storage=storage), app())
    monkeypatch.setattr(built.cloud, "update", nothing)
    await built.one_pass(ENVIRONMENT)
    assert built.requeues[ENVIRONMENT].after == 0.0
    await built.one_pass(ENVIRONMENT)
    assert built.requeues[ENVIRONMENT].kind == "interval"
    view = await built.look(ENVIRONMENT)
    assert [step.action.verb for step in view.plan.steps if isinstance(step.action, actions.Action)] == ["Update"]


async def test_a_pass_that_takes_too_long(built: Stack) -> None:
    """It is cut off and told; nothing of it is under way afterwards; the next one finishes the work."""
    held = Held(built.cloud)
    built.restart(held)
    built.write(environment(), app(scale=SCALED, timeout="1s"))
    await built.one_pass(APP)
    assert built.told() == ("Reconciling", "Timeout", "not done after 1 s, the most a pass may take")
    written = len(built.writes())
    held.release.set()
    await built.converge()
    assert len(built.writes()) == written + 1
