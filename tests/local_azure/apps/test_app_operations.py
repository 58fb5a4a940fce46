"""Apps over time: what each write answers, how long it takes, and what may not happen meanwhile."""

from typing import Any


async def test_a_patch_answers_both_addresses_and_no_body(azure: Any, app_body: Any) -> None:
    """202; the result address then answers 202 until the app comes with 200."""
    await azure.put(app_body())
    answer = await azure.ask("PATCH", "containerApps/web", {"tags": {"a": "b"}})
    assert (answer.status, answer.body) == (202, None)
    status, result = answer.headers["Azure-AsyncOperation"], answer.headers["Location"]
    assert status.split("?")[0].rpartition("/")[2] == result.split("?")[0].rpartition("/")[2]
    assert "/containerappOperationResults/" in result
    path = result.removeprefix(azure.local.url).split("?")[0]
    azure.advance(14)
    assert (await azure.arm("GET", path)).status == 202
    azure.advance(1)
    done = await azure.arm("GET", path)
    assert (done.status, done.body["tags"]) == (200, {"a": "b"})


async def test_a_second_write_is_refused_while_one_is_in_progress(azure: Any, app_body: Any) -> None:
    """409 with a bare body that names the operation, for PUT and PATCH alike."""
    first = await azure.ask("PUT", "containerApps/web", app_body())
    operation = first.headers["Azure-AsyncOperation"].split("?")[0].rpartition("/")[2]
    for method, body in (("PUT", app_body()), ("PATCH", {"properties": {}})):
        answer = await azure.ask(method, "containerApps/web", body)
        assert (answer.status, answer.body) == (
            409,
            {
                "code": "ContainerAppOperationInProgress",
                "message": "Cannot modify a container app 'web' because there is an active provisioning operation in "
                f"progress. OperationId: '{operation}'.",
            },
        )


async def test_a_put_on_an_existing_app_answers_201_again(azure: Any, app_body: Any) -> None:
    """Recorded 561 of 561: never 200, whatever changed; what the body leaves out is gone."""
    await azure.put(app_body(configuration={"secrets": [{"name": "a", "value": "b"}]}) | {"tags": {"a": "b"}})
    answer = await azure.put(app_body())
    app = (await azure.ask("GET", "containerApps/web")).body
    assert answer.status == 201
    assert "tags" not in app
    assert app["properties"]["configuration"]["secrets"] is None


async def test_a_delete_answers_202_then_204_and_204_for_nothing(azure: Any, app_body: Any) -> None:
    """Its result address ends with 204; the app and its revisions are gone."""
    await azure.put(app_body())
    answer = await azure.ask("DELETE", "containerApps/web")
    assert (answer.status, answer.body) == (202, None)
    path = answer.headers["Location"].removeprefix(azure.local.url).split("?")[0]
    assert (await azure.arm("GET", path)).status == 202
    azure.advance(18)
    assert (await azure.arm("GET", path)).status == 204
    gone = await azure.ask("GET", "containerApps/web")
    assert (gone.status, gone.body["error"]["code"]) == (404, "ResourceNotFound")
    assert (await azure.ask("DELETE", "containerApps/web")).status == 204
    assert (await azure.ask("GET", "containerApps/web/revisions")).body["error"]["code"] == "ParentResourceNotFound"


async def test_a_delete_takes_back_a_create_in_progress(azure: Any, app_body: Any) -> None:
    """No revision appears afterwards."""
    await azure.ask("PUT", "containerApps/web", app_body())
    assert (await azure.ask("DELETE", "containerApps/web")).status == 202
    azure.advance(18)
    assert (await azure.ask("GET", "containerApps")).body == {"value": []}


async def test_a_delete_in_a_missing_group_is_a_404(azure: Any) -> None:
    """Not 204."""
    answer = await azure.arm("DELETE", "/resourceGroups/no/providers/Microsoft.App/containerApps/web")
    assert (answer.status, answer.body["error"]["code"]) == (404, "ResourceGroupNotFound")


async def test_stop_and_start(azure: Any, app_body: Any) -> None:
    """202, then the app with its runningStatus; no replica runs in between."""
    await azure.put(app_body())
    azure.advance(8)
    answer = await azure.ask("POST", "containerApps/web/stop")
    azure.advance(15)
    stopped = await azure.triples()
    path = answer.headers["Location"].removeprefix(azure.local.url).split("?")[0]
    assert answer.status == 202
    assert (await azure.arm("GET", path)).body["properties"]["runningStatus"] == "Stopped"
    assert stopped == [(True, "Provisioned", "Healthy", "Stopped", 0)]
    assert azure.local.server._apps.site("web.env.localhost").targets == ()
    await azure.ask("POST", "containerApps/web/start")
    azure.advance(15)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 1)]


async def test_stopping_an_app_in_the_middle_of_a_restart(azure: Any, app_body: Any) -> None:
    """The revision stays active and runs again once the app is started."""
    await azure.put(app_body(configuration={"secrets": [{"name": "a", "value": "1"}]}))
    azure.advance(8)
    name = (await azure.revisions())[0]["name"]
    await azure.patch({"configuration": {"ingress": {"targetPort": 9000}}})
    await azure.ask("POST", f"containerApps/web/revisions/{name}/restart")
    await azure.ask("POST", "containerApps/web/stop")
    azure.advance(15)
    assert await azure.triples() == [(True, "Provisioned", "None", "Stopped", 0)]
    await azure.ask("POST", "containerApps/web/start")
    azure.advance(15)
    assert await azure.triples() == [(True, "Provisioned", "Healthy", "Running", 1)]


async def test_a_patch_merges_objects_and_replaces_arrays(azure: Any, app_body: Any) -> None:
    """Members of ingress survive, the list of secrets is replaced, null removes."""
    secrets = [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    await azure.put(app_body(configuration={"secrets": secrets}) | {"tags": {"x": "1", "y": "2"}})
    properties = {"configuration": {"ingress": {"allowInsecure": True}, "secrets": [{"name": "b"}]}}
    await azure.ask("PATCH", "containerApps/web", {"tags": {"x": None, "z": "3"}, "properties": properties})
    azure.advance(15)
    app = (await azure.ask("GET", "containerApps/web")).body
    ingress = app["properties"]["configuration"]["ingress"]
    assert (ingress["allowInsecure"], ingress["external"], ingress["targetPort"]) == (True, True, 8000)
    assert app["tags"] == {"y": "2", "z": "3"}
    listed = await azure.ask("POST", "containerApps/web/listSecrets")
    assert listed.body == {"value": [{"name": "b", "value": "2"}]}


async def test_list_secrets_is_empty_without_any(azure: Any, app_body: Any) -> None:
    """An empty list, not null."""
    await azure.put(app_body())
    assert (await azure.ask("POST", "containerApps/web/listSecrets")).body == {"value": []}


async def test_apps_are_listed_by_group_and_subscription(azure: Any, app_body: Any) -> None:
    """Whole resources, oldest first."""
    for name in ("web", "api"):
        await azure.put(app_body(), app=name)
    of_group = (await azure.ask("GET", "containerApps")).body["value"]
    of_subscription = (await azure.everywhere("containerApps")).body["value"]
    assert [item["name"] for item in of_group] == ["web", "api"]
    assert of_subscription == of_group
    assert of_group[0] == (await azure.ask("GET", "containerApps/web")).body


async def test_a_deleted_group_takes_everything_with_it(azure: Any, app_body: Any) -> None:
    """Apps, revisions, environments; nothing runs on."""
    await azure.put(app_body())
    key = (await azure.revisions())[0]["name"]
    await azure.arm("DELETE", "/resourcegroups/rg")
    azure.advance(1260)
    assert (await azure.everywhere("containerApps")).body == {"value": []}
    assert (await azure.everywhere("managedEnvironments")).body == {"value": []}
    azure.advance(2)
    assert azure.local.server._runtime.replicas(key) == ()


async def test_apps_go_with_their_environments_group(azure: Any, app_body: Any) -> None:
    """An app of another group can't live without its environment."""
    await azure.arm("PUT", "/resourcegroups/other", {"location": "westus3"})
    path = "/resourceGroups/other/providers/Microsoft.App/containerApps/web"
    assert (await azure.arm("PUT", path, app_body())).status == 201
    azure.advance(20)
    await azure.arm("DELETE", "/resourcegroups/rg")
    azure.advance(1260)
    assert (await azure.arm("GET", path)).status == 404
