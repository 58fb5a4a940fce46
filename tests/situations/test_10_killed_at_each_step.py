"""Killed after any write, also while somebody holds the share's files open: the next controller converges, with no
orphan and no half release. And an environment that somebody made with a plain Consumption profile isn't replaced."""

from __future__ import annotations

import pytest

from infra.local_azure.faults import Rule
from tests.reconcile.clouds import Killed, Killing
from tests.reconcile.stack import ENVIRONMENT, Stack, app, environment

CHANGES = 3
"""Writes that a new release of this mirror takes."""


@pytest.mark.parametrize("after", range(1, CHANGES + 1))
async def test_with_files_held_open(built: Stack, faults: list[Rule], after: int) -> None:
    """A file that a replica has open can't be replaced for a while: the release waits, whole, and then it is made."""
    built.write(environment(), app(release="Mirror"))
    await built.converge()
    (built.code / "app.py").write_text("print('two')\n")
    held = Rule("/models/inference/app.py$", "PUT", status=409, code="SharingViolation", message="held open", times=1)
    faults.append(held)
    built.restart(Killing(built.cloud, after=after))
    with pytest.raises((Killed, BaseExceptionGroup)):
        await built.settle()
    built.restart()
    await built.converge()
    assert held.times == 0
    files = built.files()
    assert files["inference/app.py"] == "print('two')\n"
    assert not [path for path in files if ".acaops-" in path]


async def test_an_environment_without_the_dedicated_profile_is_not_replaced(stack: Stack) -> None:
    """Stalled, naming what it has and what is wanted; it is neither written nor deleted."""
    await stack.arm("PUT", stack.ids.group, {"location": "westus3"})
    consumption = [{"name": "Consumption", "workloadProfileType": "Consumption"}]
    body = {"location": "westus3", "properties": {"workloadProfiles": consumption}}
    await stack.arm("PUT", stack.ids.environment, body)
    await stack.settle()
    kind, reason, message = stack.told(ENVIRONMENT)
    assert (kind, reason) == ("Stalled", "ImmutableField")
    assert "NC24-A100" in message
    assert "Consumption" in message
    written = [(method, path) for method, path in stack.writes() if path.endswith("/env-one")]
    assert written == [("PUT", stack.ids.environment)]
