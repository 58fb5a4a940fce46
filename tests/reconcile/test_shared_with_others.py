"""An app that others write too: identities, registries and ignored fields, over the wire."""

from __future__ import annotations

from tests.reconcile.stack import APP, GROUP, Stack, app, environment

IDENTITIES = f"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/{GROUP}/providers"
IDENTITIES += "/Microsoft.ManagedIdentity/userAssignedIdentities"
PULL, THEIRS = f"{IDENTITIES}/pull", f"{IDENTITIES}/theirs"
HALF = {"cpu": 12, "memory": "100Gi"}


async def test_identities_and_registries_add_up(built: Stack) -> None:
    """A portal user's own stay, with the password of their registry; then nothing is left to write."""
    live = await built.live_app()
    registry = {"server": "theirs.io", "username": "u", "passwordSecretRef": "pw"}
    configuration = {"secrets": [{"name": "pw", "value": "kept"}], "registries": [registry]}
    theirs = {"type": "UserAssigned", "userAssignedIdentities": {THEIRS: {}}}
    await built.arm("PATCH", live["id"], {"identity": theirs, "properties": {"configuration": configuration}})

    built.write(
        environment(),
        app(
            identity={"type": "SystemAssigned,UserAssigned", "userAssigned": [PULL.lower()]},
            registries=[{"server": "ours.azurecr.io", "identity": PULL}],
        ),
    )
    await built.converge()

    live = await built.live_app()
    assert live["identity"]["type"] == "SystemAssigned, UserAssigned"
    assert {one.lower() for one in live["identity"]["userAssignedIdentities"]} == {PULL.lower(), THEIRS.lower()}
    registries = {one["server"]: one for one in live["properties"]["configuration"]["registries"]}
    assert registries["theirs.io"]["passwordSecretRef"] == "pw"
    assert registries["ours.azurecr.io"]["identity"].lower() == PULL.lower()
    written = built.writes()
    await built.one_pass(APP)
    assert built.writes() == written


async def test_ignored_fields_are_left_to_others(stack: Stack) -> None:
    """Sent at creation; what somebody makes of them survives an update of the array around them."""
    ignore = [
        "/properties/template/scale/maxReplicas",
        "/properties/template/containers/0/env/LOG_LEVEL",
        "/properties/template/containers/0/env/AGENT",
        "/tags/team",
    ]
    variables = [{"name": "LOG_LEVEL", "value": "info"}, {"name": "MODE", "value": "chat"}]
    spec = {"resources": HALF, "env": variables, "tags": {"team": "one"}, "ignore": ignore}
    spec["ingress"] = {"sticky": False}
    stack.write(environment(), app(**spec))
    await stack.converge()
    assert (await stack.env())["LOG_LEVEL"] == "info"

    live = await stack.live_app()
    template = live["properties"]["template"]
    (container,) = template["containers"]
    kept = [one for one in container["env"] if one["name"] != "LOG_LEVEL"]
    container["env"] = [*kept, {"name": "LOG_LEVEL", "value": "debug"}, {"name": "AGENT", "value": "1"}]
    template["scale"]["maxReplicas"] = 7
    await stack.arm(
        "PATCH", live["id"], {"tags": {**live["tags"], "team": "two"}, "properties": {"template": template}}
    )
    await stack.converge()
    written, listed = stack.writes(), len(await stack.revisions())
    stack.write(environment(), app(**{**spec, "tags": {"team": "three"}, "scale": {"maxReplicas": 2}}))
    await stack.converge()
    assert stack.writes() == written
    assert len(await stack.revisions()) == listed

    stack.write(environment(), app(**{**spec, "env": [variables[0], {"name": "MODE", "value": "batch"}]}))
    await stack.converge()

    live = await stack.live_app()
    env = await stack.env()
    assert (env["MODE"], env["LOG_LEVEL"], env["AGENT"]) == ("batch", "debug", "1")
    assert live["properties"]["template"]["scale"]["maxReplicas"] == 7
    assert live["tags"]["team"] == "two"
