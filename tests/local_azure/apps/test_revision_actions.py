"""Activate, deactivate, restart: acknowledged at once, done soon."""

from typing import Any


async def test_deactivate_stops_and_activate_starts_again(azure: Any, app_body: Any) -> None:
    """JSON strings as answers; Deprovisioning on the way down, Activating on the way up."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}))
    azure.advance(8)
    name = (await azure.revisions())[0]["name"]
    path = f"containerApps/web/revisions/{name}"
    down = await azure.ask("POST", f"{path}/deactivate")
    seen = [(await azure.triples())[0]]
    azure.advance(2)
    seen.append((await azure.triples())[0])
    up = await azure.ask("POST", f"{path}/activate")
    seen.append((await azure.triples())[0])
    azure.advance(8)
    seen.append((await azure.triples())[0])
    assert (down.status, down.body, up.status, up.body) == (200, "Deactivate succeeded", 200, "Activate succeeded")
    assert seen == [
        (True, "Provisioned", "Healthy", "Deprovisioning", 1),
        (False, "Provisioned", "Healthy", "Stopped", 0),
        (True, "Provisioned", "None", "Activating", 1),
        (True, "Provisioned", "Healthy", "Running", 1),
    ]


async def test_an_old_revision_can_run_beside_the_latest_in_single_mode(azure: Any, app_body: Any) -> None:
    """Activating works there too; it gets no traffic."""
    await azure.put(app_body())
    azure.advance(8)
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    azure.advance(10)
    old = (await azure.revisions())[0]["name"]
    await azure.ask("POST", f"containerApps/web/revisions/{old}/activate")
    azure.advance(8)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 1)] * 2
    assert [item["trafficWeight"] for item in await azure.revisions()] == [0, 100]


async def test_activating_while_it_still_stops_brings_it_back(azure: Any, app_body: Any) -> None:
    """The last word counts."""
    await azure.put(app_body())
    azure.advance(8)
    path = f"containerApps/web/revisions/{(await azure.revisions())[0]['name']}"
    await azure.ask("POST", f"{path}/deactivate")
    await azure.ask("POST", f"{path}/activate")
    azure.advance(10)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 1)]


async def test_a_restart_makes_new_replicas(azure: Any, app_body: Any) -> None:
    """Another replica name; the revision is Activating in between."""
    await azure.put(app_body())
    azure.advance(8)
    name = (await azure.revisions())[0]["name"]
    path = f"containerApps/web/revisions/{name}"
    before = (await azure.ask("GET", f"{path}/replicas")).body["value"][0]["name"]
    assert (await azure.ask("POST", f"{path}/restart")).body == "Restart succeeded"
    assert (await azure.triples())[0][2:4] == ("None", "Activating")
    azure.advance(10)
    after = [item["name"] for item in (await azure.ask("GET", f"{path}/replicas")).body["value"]]
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)
    assert len(after) == 1
    assert before not in after


async def test_a_secrets_new_value_needs_a_restart(azure: Any, app_body: Any) -> None:
    """A changed value restarts nothing by itself and makes no revision."""
    container = {"name": "web", "image": "i", "env": [{"name": "KEY", "secretRef": "key"}]}
    secrets = {"secrets": [{"name": "key", "value": "old"}]}
    await azure.put(app_body(template={"containers": [container]}, configuration=secrets))
    azure.advance(8)
    name = (await azure.revisions())[0]["name"]
    await azure.patch({"configuration": {"secrets": [{"name": "key", "value": "new"}]}})
    assert environment(azure, name)["KEY"] == "old"
    assert len(await azure.revisions()) == 1
    await azure.ask("POST", f"containerApps/web/revisions/{name}/restart")
    azure.advance(10)
    assert environment(azure, name)["KEY"] == "new"
    assert (await azure.triples())[0] == (True, "Provisioned", "Healthy", "Running", 1)


async def test_a_revision_knows_its_own_names(azure: Any, app_body: Any) -> None:
    """The platform's variables, as documented."""
    await azure.put(app_body())
    name = (await azure.revisions())[0]["name"]
    domain = f"env.localhost:{azure.local.server.port}"
    assert azure.local.server._runtime._revisions[name].variables == {
        "CONTAINER_APP_NAME": "web",
        "CONTAINER_APP_REVISION": name,
        "CONTAINER_APP_HOSTNAME": f"{name}.{domain}",
        "CONTAINER_APP_ENV_DNS_SUFFIX": domain,
        "CONTAINER_APP_PORT": "8000",
    }


async def test_probes_get_their_defaults(azure: Any, app_body: Any) -> None:
    """The app's own probe is kept, the missing types come from the documented defaults on the target port."""
    own = {"type": "Startup", "httpGet": {"port": 8000, "path": "/livez"}, "failureThreshold": 10}
    container = {"name": "web", "image": "i", "probes": [own]}
    await azure.put(app_body(template={"containers": [container]}))
    name = (await azure.revisions())[0]["name"]
    probes = azure.local.server._runtime._revisions[name].containers[0].probes
    assert [(item.kind, item.path, item.port, item.period, item.failure_threshold) for item in probes] == [
        ("Startup", "/livez", 8000, 10.0, 10),
        ("Readiness", None, 8000, 5.0, 48),
        ("Liveness", None, 8000, 10.0, 3),
    ]


async def test_unknown_revisions_and_replicas_are_404(azure: Any, app_body: Any) -> None:
    """Told by the provider."""
    await azure.put(app_body())
    name = (await azure.revisions())[0]["name"]
    answers = [
        await azure.ask("GET", "containerApps/web/revisions/web--no"),
        await azure.ask("POST", "containerApps/web/revisions/web--no/restart"),
        await azure.ask("GET", f"containerApps/web/revisions/{name}/replicas/no"),
    ]
    assert [(item.status, item.body["error"]["code"]) for item in answers] == [
        (404, "RevisionNotFound"),
        (404, "RevisionNotFound"),
        (404, "ReplicaNotFound"),
    ]


def environment(azure: Any, name: str) -> dict[str, str]:
    return dict(azure.local.server._runtime._revisions[name].containers[0].env)


async def test_a_removed_secret_keeps_an_old_revision_from_starting(azure: Any, app_body: Any) -> None:
    """Its container waits and says which one is missing."""
    container = {"name": "web", "image": "i", "env": [{"name": "KEY", "secretRef": "key"}]}
    secrets = {"secrets": [{"name": "key", "value": "old"}]}
    await azure.put(app_body(template={"containers": [container]}, configuration=secrets))
    azure.advance(8)
    old = (await azure.revisions())[0]["name"]
    template = {"containers": [{"name": "web", "image": "i"}]}
    await azure.patch({"template": template, "configuration": {"secrets": []}})
    azure.advance(10)
    await azure.ask("POST", f"containerApps/web/revisions/{old}/activate")
    azure.advance(8)
    replica = (await azure.ask("GET", f"containerApps/web/revisions/{old}/replicas")).body["value"][0]
    details = replica["properties"]["containers"][0]["runningStateDetails"]
    assert "SecretRef 'key' defined for container 'web' not found" in details
