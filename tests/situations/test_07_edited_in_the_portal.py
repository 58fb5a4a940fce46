"""Somebody edits the app in the portal: what the YAML names is put back, everything else survives."""

from __future__ import annotations

from tests.reconcile.stack import Stack, app, environment

HALF = {"cpu": 12, "memory": "100Gi"}
THEIRS = {
    "customDomains": [{"name": "chat.example.org", "bindingType": "Disabled"}],
    "corsPolicy": {"allowedOrigins": ["https://example.org"]},
}


async def edit(stack: Stack) -> None:
    """A variable and the replicas, which are ours; an identity, a custom domain and a sidecar, which aren't."""
    live = await stack.live_app()
    template = live["properties"]["template"]
    template["containers"][0]["env"].append({"name": "DEBUG", "value": "1"})
    template["containers"].append({"name": "sidecar", "image": "busybox"})
    template["scale"]["maxReplicas"] = 7
    body = {
        "identity": {"type": "SystemAssigned"},
        "properties": {"configuration": {"ingress": THEIRS}, "template": template},
    }
    await stack.arm("PATCH", live["id"], body)


async def test_owned_fields_are_corrected_the_others_survive(built: Stack) -> None:
    """And the status says what was put back."""
    built.write(environment(), app(resources=HALF))
    await built.converge()
    await edit(built)
    await built.one_pass(("InferenceApp", "chat"))
    assert {each.path.rpartition(".")[2] for each in built.status().drift} == {"env[DEBUG]", "maxReplicas"}
    assert not any(each.left for each in built.status().drift)
    await built.converge()
    live = await built.live_app()
    template, ingress = live["properties"]["template"], live["properties"]["configuration"]["ingress"]
    assert template["scale"]["maxReplicas"] == 1
    assert "DEBUG" not in await built.env()
    assert [one["name"] for one in template["containers"]] == ["chat", "sidecar"]
    assert live["identity"]["type"] == "SystemAssigned"
    assert [one["name"] for one in ingress["customDomains"]] == ["chat.example.org"]
    assert ingress["corsPolicy"]["allowedOrigins"] == ["https://example.org"]
    assert built.status().drift == ()


async def test_reported_instead_of_corrected(built: Stack) -> None:
    """drift: Report writes nothing, stays Ready, and names each field; the next change of the YAML puts all right."""
    built.write(environment(), app(drift="Report", resources=HALF))
    await built.converge()
    await edit(built)
    since = built.writes()
    await built.converge()
    assert since == built.writes()
    assert {each.path.rpartition(".")[2] for each in built.status().drift if each.left} == {"env[DEBUG]", "maxReplicas"}
    built.write(environment(), app(drift="Report", resources=HALF, env=[{"name": "MODE", "value": "serve"}]))
    await built.converge()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 1


async def test_left_to_other_writers(built: Stack) -> None:
    """What `ignore` points at is never put back, and is no drift."""
    built.write(environment(), app(resources=HALF, ignore=["/properties/template/scale/maxReplicas"]))
    await built.converge()
    await edit(built)
    await built.converge()
    assert (await built.live_app())["properties"]["template"]["scale"]["maxReplicas"] == 7
    assert "DEBUG" not in await built.env()
