"""Somebody changes Azure, or the desired state: what is put right, what is left alone, what becomes a revision."""

from __future__ import annotations

from controller.plan import actions
from tests.reconcile.stack import APP, ENVIRONMENT, Stack, app, environment


def updates(stack: Stack, view: object) -> list[tuple[str, str]]:
    return [(step.action.verb, step.action.reason) for step in view.plan.steps if step.action]  # type: ignore[attr-defined]


async def test_an_app_deleted_behind_its_back_is_made_again(built: Stack) -> None:
    """The same app, from the content that is still on the share."""
    before = await built.picture()
    await built.arm("DELETE", built.ids.app("chat"))
    assert await built.arm("GET", built.ids.app("chat")) is None
    written = len(built.writes())
    await built.converge()
    assert before == await built.picture()
    assert [path.rpartition("/")[2] for _, path in built.writes()[written:]].count("chat") >= 1


async def test_a_changed_variable_is_put_back_as_drift(built: Stack) -> None:
    """The plan says drift, and which field; the pass corrects it, and it is counted."""
    live = await built.live_app()
    template = live["properties"]["template"]
    template["containers"][0]["env"][0]["value"] = "tampered"
    await built.arm("PATCH", live["id"], {"properties": {"template": template}})
    view = await built.look()
    assert updates(built, view) == [("Update", "drift")]
    (change,) = [change for step in view.plan.steps if step.action for change in step.action.changes]
    assert ".containers[chat].env" in change.path
    await built.converge()
    assert (await built.env())["MODE"] == "chat"
    told = built.reconciler.metrics.exposition().decode()
    assert 'acaops_drift_total{controller="inferenceapp",name="chat"} 1.0' in told


async def test_what_others_added_stays(stack: Stack) -> None:
    """Tags, a CORS policy, a container, a secret and a workload profile survive updates of what is ours."""
    ids, half = stack.ids, {"cpu": 12, "memory": "100Gi"}
    stack.write(environment(), app(resources=half))
    await stack.converge()
    live = await stack.live_app()
    sidecar = {"name": "sidecar", "image": "busybox", "env": [{"name": "THEIRS", "value": "1"}]}
    containers = [*live["properties"]["template"]["containers"], sidecar]
    cors = {"allowedOrigins": ["https://example.org"]}
    configuration = {"ingress": {"corsPolicy": cors}, "secrets": [{"name": "theirs", "value": "kept"}]}
    template = {**live["properties"]["template"], "containers": containers}
    body = {"tags": {"theirs": "1"}, "properties": {"configuration": configuration, "template": template}}
    await stack.arm("PATCH", live["id"], body)
    profiles = (await stack.arm("GET", ids.environment))["properties"]["workloadProfiles"]
    theirs = {"name": "theirs", "workloadProfileType": "D4", "minimumCount": 0, "maximumCount": 1}
    await stack.arm("PATCH", ids.environment, {"properties": {"workloadProfiles": [*profiles, theirs]}})
    await stack.arm("PATCH", ids.account, {"tags": {"theirs": "2", **(await stack.arm("GET", ids.account))["tags"]}})

    containerapps = environment()["spec"]["containerApps"]
    ours = {"name": "t4", "type": "Consumption-GPU-NC8as-T4"}
    containerapps["workloadProfiles"].append(ours)
    stack.write(
        environment(containerApps=containerapps, tags={"team": "one"}),
        app(resources=half, scale={"minReplicas": 1, "maxReplicas": 2}),
    )
    await stack.converge()

    live = await stack.live_app()
    assert live["tags"]["theirs"] == "1"
    assert live["properties"]["configuration"]["ingress"]["corsPolicy"]["allowedOrigins"] == cors["allowedOrigins"]
    kept = next(one for one in live["properties"]["template"]["containers"] if one["name"] == "sidecar")
    assert kept["env"] == sidecar["env"]
    assert live["properties"]["template"]["scale"]["maxReplicas"] == 2
    secrets = (await stack.arm("POST", f"{live['id']}/listSecrets"))["value"]
    assert [(one["name"], one["value"]) for one in secrets] == [("theirs", "kept")]
    names = {one["name"] for one in (await stack.arm("GET", ids.environment))["properties"]["workloadProfiles"]}
    assert names == {"Consumption", "GPU", "theirs", "t4"}
    tags = (await stack.arm("GET", ids.account))["tags"]
    assert (tags["theirs"], tags["team"]) == ("2", "one")


async def test_a_changed_scale_is_one_update_and_one_revision(built: Stack) -> None:
    """Exactly what the plan said: one PATCH of the app."""
    built.write(environment(), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    view = await built.look()
    (action,) = [step.action for step in view.plan.steps if step.action]
    assert (action.verb, action.reason) == ("Update", "changed")
    assert actions.Change("properties.template.scale.maxReplicas", 1, 3) in action.changes
    written = len(built.writes())
    await built.converge()
    assert [(method, path) for method, path in built.writes()[written:]][:1] == [("PATCH", built.ids.app("chat"))]
    assert len(built.writes()) == written + 1
    assert len(await built.revisions()) == 2


async def test_changed_content_alone_is_a_new_release(built: Stack) -> None:
    """A new bundle beside the old one, a new release in the template, a new revision."""
    before, files = await built.env(), built.files()
    (built.code / "app.py").write_text("print('two')\n")
    await built.converge()
    after = await built.env()
    assert before["ACAOPS_RELEASE"] != after["ACAOPS_RELEASE"] == built.status().release
    assert len(await built.revisions()) == 2
    assert files.items() < built.files().items()
    assert len(built.files()) == 2
    assert [entry.release for entry in built.status().history] == [before["ACAOPS_RELEASE"], after["ACAOPS_RELEASE"]]


async def test_an_unreadable_content_folder_stops_its_app_alone(built: Stack) -> None:
    """The app is Stalled with the file's name and nothing is written for it; the Environment isn't concerned."""
    (built.code / "weights.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    built.write(environment(tags={"team": "one"}), app(scale={"minReplicas": 1, "maxReplicas": 3}))
    await built.settle()
    kind, reason, message = built.told(APP)
    assert (kind, reason) == ("Stalled", "InvalidContent")
    assert "weights.bin: a Git LFS pointer" in message
    assert built.told(ENVIRONMENT)[0] == "Ready"
    assert len(await built.revisions()) == 1
    assert built.status().endpoint
