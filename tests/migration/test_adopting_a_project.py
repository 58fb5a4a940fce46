"""An AI Toolkit project imported: its stack, as provisioning made it, is adopted without another change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.model import outcome
from controller.plan import actions
from tests.migration import provisioned
from tests.migration.conftest import Adopting
from tests.migration.provisioned import Provisioned
from tests.reconcile.stack import Stack

OWN = {
    "storageAccountName": "phi3files",
    "fileShareName": "phi3-share",
    "acaEnvironmentName": "phi3-env",
    "acaEnvironmentStorageName": "phi3-mount",
    "acaAppName": "phi3-chat",
    "acaLogAnalyticsName": "phi3-logs",
}


@dataclass(frozen=True)
class Case:
    project: str
    parameters: Mapping[str, Any]
    there: Provisioned
    config: Mapping[str, Any] = field(default_factory=dict)


CASES = {
    "all nulls": Case("current", {}, Provisioned()),
    "everything on record": Case(
        "current",
        {},
        Provisioned(),
        {
            "STORAGE_ACCOUNT_NAME": provisioned.names().account,
            "FILE_SHARE_NAME": provisioned.names().share,
            "ACA_APP_NAME": f"aiacaapp{provisioned.SUFFIX}",
            "ACA_APP_ENDPOINT": "chat.example.com",
            "COMMANDS": list(provisioned.COMMANDS),
        },
    ),
    "own names": Case(
        "current",
        OWN,
        Provisioned(
            provisioned.names(
                account="phi3files",
                share="phi3-share",
                environment="phi3-env",
                storage="phi3-mount",
                workspace="phi3-logs",
            ),
            "phi3-chat",
        ),
    ),
    "an environment of another name": Case(
        "current",
        {"acaEnvironmentName": "team-env", "maximumInstanceCount": 4},
        Provisioned(provisioned.names(environment="team-env"), counts=(0, 4)),
    ),
    "older names": Case(
        "older",
        {},
        Provisioned(
            provisioned.names("wais"),
            f"waisacaapp{provisioned.SUFFIX}",
            "; ".join((provisioned.COMMANDS[0], "mkdir .cache", *provisioned.COMMANDS[1:])),
            "docker.io/huggingface/transformers-all-latest-gpu",
            (1, 1),
            10,
        ),
    ),
}


async def planned(stack: Stack) -> dict[str, actions.Action]:
    """What the plans would do, by kind."""
    found = [await stack.look(key) for key in stack.source.keys]
    blocked = [step.blocked for view in found for step in view.plan.steps if step.blocked]
    assert not [why for why in blocked if isinstance(why, outcome.Stalled)]
    return {step.kind.label: step.action for view in found for step in view.plan.steps if step.action}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_nothing_changes_but_tags_content_and_revision(adopting: Adopting, case: Case) -> None:
    """Of the app's template only its start command, and the name of its release. Where there is one machine, the old
    revision makes room first."""
    async with adopting(case.project, case.there, case.parameters, case.config) as stack:
        container = f"properties.template.containers[{case.there.app}]"
        plan = await planned(stack)
        first = {"revision"} if case.there.counts[1] == 1 else set()
        assert plan.keys() == {"storageAccount", "workspace", "content", "containerApp"} | first
        changes = {kind: {change.path for change in action.changes} for kind, action in plan.items()}
        assert all(path.startswith("tags.") for kind in ("storageAccount", "workspace") for path in changes[kind])
        assert {path for path in changes["containerApp"] if not path.startswith("tags.")} == {
            f"{container}.command",
            f"{container}.env[ACAOPS_RELEASE]",
        }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_nothing_is_written_but_tags_content_and_revision(adopting: Adopting, case: Case) -> None:
    """No PUT to ARM at all, and no difference in Azure but those; the app's probes are its own still."""
    async with adopting(case.project, case.there, case.parameters, case.config) as stack:
        before, since = await everything(stack, case.there.app), len(stack.writes())
        await stack.converge()
        arm = [(method, path) for method, path in stack.writes()[since:] if path.startswith("/subscriptions")]
        ids = stack.ids
        patched = {ids.account, ids.workspace, ids.app(case.there.app)}
        written = {(method, path.lower()) for method, path in arm if not path.endswith("/deactivate")}
        assert written == {("PATCH", one.lower()) for one in patched}
        after = await everything(stack, case.there.app)
        assert differing(before, after) == {"app.template.containers.command", "app.template.containers.env"}
        assert stack.files().keys() >= {"inference/chat.py", "setup/requirements.txt"}
        assert len(await stack.revisions(case.there.app)) == 2


async def everything(stack: Stack, app: str) -> dict[str, Any]:
    """What people set in Azure, without tags and what the service sets by itself."""
    ids = stack.ids
    live = (await stack.live_app(app))["properties"]
    (container,) = live["template"]["containers"]
    environment = (await stack.arm("GET", ids.environment))["properties"]
    account = await stack.arm("GET", ids.account)
    return {
        "account": {key: account[key] for key in ("sku", "kind", "location", "properties")},
        "share": (await stack.arm("GET", ids.share))["properties"]["shareQuota"],
        "workspace": (await stack.arm("GET", ids.workspace))["properties"]["sku"]["name"],
        "environment": {key: environment[key] for key in ("workloadProfiles", "appLogsConfiguration")},
        "storages": await stack.arm("GET", f"{ids.environment}/storages"),
        "app": {
            "configuration": live["configuration"],
            "profile": live["workloadProfileName"],
            "template": {**live["template"], "containers": container},
        },
    }


def differing(before: Any, after: Any, path: str = "") -> set[str]:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return set() if before == after else {path}
    keys = before.keys() | after.keys()
    return {
        found
        for key in keys
        for found in differing(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    }
