"""How answers of an endpoint are counted, as far as that takes no Azure."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller import judging, memory
from controller.cloud import port
from controller.model import desired, observed, outcome
from controller.plan import workload
from tests.unit.plan import wanted

APP = wanted.app(rollout={"check": {"path": "/readyz", "successes": 2}})
RUNS = {"provisioningState": "Provisioned", "healthState": "Healthy", "runningState": "Running", "active": True}


class Cloud:
    """Its app answers well, and has no replicas."""

    async def check(self, url: str) -> observed.Check:
        return observed.Check(200, None, "", conclusive=True)

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]:
        return ()


def rolled_out(app: desired.InferenceApp) -> workload.App:
    """The app as it is wanted, with one revision, which is healthy."""
    made = wanted.created(app)
    facts: dict[str, Any] = {**RUNS, "template": made.properties["template"], "createdTime": "2026-11-20T08:00:00Z"}
    revision = observed.Resource({"name": "r1", "id": f"{made.id}/revisions/r1", "properties": facts})
    ingress = {**made.properties["configuration"]["ingress"], "fqdn": "phi3.example.com"}
    config = {**made.properties["configuration"], "ingress": ingress}
    live = wanted.with_properties(made, latestRevisionName="r1", configuration=config)
    return wanted.subject(app, observed.Workload(wanted.stack(), live, (revision,)))


@pytest.mark.parametrize("other", ["release", "revision"])
async def test_answers_of_another_release_or_revision_do_not_count(other: str) -> None:
    """Nor do those of the same revision's name in another place."""
    one = rolled_out(APP)
    named = {"release": one.serving.release, "revision": f"{one.id}/revisions/r1"}
    known, name, cloud = memory.Memory(), APP.metadata.name, cast(port.Cloud, Cloud())

    known.streaks[name] = memory.Streak(**named, count=2)
    _, trial = await judging.tried(cloud, one, known=known)
    assert isinstance(trial.verdict, outcome.Done)

    known.streaks[name] = memory.Streak(**{**named, other: "/elsewhere/revisions/r1"}, count=2)
    _, trial = await judging.tried(cloud, one, known=known)
    assert isinstance(trial.verdict, outcome.InProgress)
    assert known.streaks[name].count == 1


async def test_an_answer_with_another_digest_does_not_count() -> None:
    """The model that it serves isn't the one that was asked for, whatever its release."""
    app = wanted.app(
        rollout={"check": {"path": "/readyz", "successes": 1}},
        model={"base": "models/phi", "baseDigest": f"sha256:{'a' * 64}"},
    )
    known = memory.Memory()
    _, trial = await judging.tried(cast(port.Cloud, Cloud()), rolled_out(app), known=known)
    assert not isinstance(trial.verdict, outcome.Done)
    assert known.streaks[app.metadata.name].count == 0
