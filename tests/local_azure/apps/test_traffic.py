"""Who gets the requests: by the traffic array, by a revision's own address, by a label."""

from typing import Any


def targets(azure: Any, host: str) -> list[tuple[str, int]] | None:
    site = azure.local.server._apps.site(host)
    return None if site is None else [(target.key, target.weight) for target in site.targets]


async def two_revisions(azure: Any, app_body: Any) -> tuple[str, str]:
    """Two running revisions in Multiple mode; their names."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}))
    azure.advance(8)
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    azure.advance(8)
    first, second = (item["name"] for item in await azure.revisions())
    return first, second


async def route(azure: Any, traffic: list[dict[str, Any]]) -> None:
    answer = await azure.patch({"configuration": {"ingress": {"traffic": traffic}}})
    assert answer.status == 202, answer


async def test_weights_split_by_name(azure: Any, app_body: Any) -> None:
    """Stored, shown on the revisions, and followed; a new revision gets nothing."""
    first, second = await two_revisions(azure, app_body)
    await route(azure, [{"revisionName": first, "weight": 80}, {"revisionName": second, "weight": 20}])
    await azure.patch({"template": {"containers": [{"name": "web", "image": "c"}]}})
    azure.advance(8)
    assert targets(azure, "web.env.localhost") == [(first, 80), (second, 20)]
    assert [item["trafficWeight"] for item in await azure.revisions()] == [80, 20, 0]


async def test_latest_means_the_latest_ready_one(azure: Any, app_body: Any) -> None:
    """While a newer one isn't ready, requests stay; its trafficWeight says 100 already."""
    _, second = await two_revisions(azure, app_body)
    properties = {"template": {"containers": [{"name": "web", "image": "c"}]}}
    await azure.ask("PATCH", "containerApps/web", {"properties": properties})
    azure.advance(6)
    assert targets(azure, "web.env.localhost") == [(second, 100)]
    assert [item["trafficWeight"] for item in await azure.revisions()] == [0, 0, 100]
    azure.advance(8)
    assert targets(azure, "web.env.localhost") == [("web--0000002", 100)]


async def test_a_weight_on_an_inactive_revision_reaches_nobody(azure: Any, app_body: Any) -> None:
    """Accepted, stored, without effect."""
    first, second = await two_revisions(azure, app_body)
    await azure.ask("POST", f"containerApps/web/revisions/{first}/deactivate")
    azure.advance(2)
    await route(azure, [{"revisionName": first, "weight": 25}, {"revisionName": second, "weight": 75}])
    assert targets(azure, "web.env.localhost") == [(second, 75)]
    app = await azure.properties("containerApps/web")
    assert app["configuration"]["ingress"]["traffic"][0] == {"revisionName": first, "weight": 25}


async def test_a_revisions_own_address_and_its_labels(azure: Any, app_body: Any) -> None:
    """`<revision>.<domain>` and `<app>---<label>.<domain>`; both end with the revision."""
    first, _ = await two_revisions(azure, app_body)
    array: list[dict[str, Any]] = [
        {"latestRevision": True, "weight": 100},
        {"revisionName": first, "weight": 0, "label": "blue"},
    ]
    await route(azure, array)
    assert targets(azure, f"{first}.env.localhost") == [(first, 100)]
    assert targets(azure, "web---blue.env.localhost") == [(first, 100)]
    assert (await azure.revisions())[0]["labels"] == ["blue"]
    await azure.ask("POST", f"containerApps/web/revisions/{first}/deactivate")
    azure.advance(2)
    assert targets(azure, f"{first}.env.localhost") == []


async def test_names_that_nobody_has(azure: Any, app_body: Any) -> None:
    """None, so that something else may answer."""
    await azure.put(app_body())
    await azure.put(app_body(configuration={"ingress": None}), app="quiet")
    hosts = (
        "no.env.localhost",
        "web.no.localhost",
        "web--no.env.localhost",
        "web---no.env.localhost",
        "quiet.env.localhost",
        "web.env.example",
        "localhost",
    )
    assert [targets(azure, host) for host in hosts] == [None] * len(hosts)


async def test_apps_of_one_name_in_two_groups_dont_mix(azure: Any, app_body: Any) -> None:
    """Same revision names, different replicas and addresses."""
    await azure.put(app_body(template={"revisionSuffix": "one"}))
    await azure.arm("PUT", "/resourcegroups/other", {"location": "westus3"})
    below = "/resourceGroups/other/providers/Microsoft.App"
    await azure.arm("PUT", f"{below}/managedEnvironments/second", {"location": "westus3", "properties": {}})
    azure.advance(104)
    second = f"/subscriptions/{azure.local.subscription}{below}/managedEnvironments/second"
    body = app_body(environment=second, template={"revisionSuffix": "one"})
    assert (await azure.arm("PUT", f"{below}/containerApps/web", body)).status == 201
    azure.advance(20)
    here, there = targets(azure, "web.env.localhost"), targets(azure, "web.second.localhost")
    assert here == [("web--one", 100)]
    assert there is not None
    assert there != here
    listed = await azure.arm("GET", f"{below}/containerApps/web/revisions/web--one/replicas")
    assert [item["name"].startswith("web--one-") for item in listed.body["value"]] == [True]


async def test_site_facts_follow_the_ingress(azure: Any, app_body: Any) -> None:
    """External, insecure, sticky."""
    ingress = {"external": True, "targetPort": 80, "allowInsecure": True, "stickySessions": {"affinity": "sticky"}}
    await azure.put(app_body(configuration={"ingress": ingress}))
    site = azure.local.server._apps.site("web.env.localhost")
    assert (site.app, site.external, site.allow_insecure, site.sticky) == ("web", True, True, True)
