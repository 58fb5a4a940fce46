"""Revision modes: who answers while they change, and when revisions are deactivated in either."""

from __future__ import annotations

from typing import Any


def targets(azure: Any, host: str = "web.env.localhost") -> list[tuple[str, int]]:
    return [(target.key, target.weight) for target in azure.local.server._apps.site(host).targets]


async def act(azure: Any, name: str, verb: str) -> None:
    assert (await azure.ask("POST", f"containerApps/web/revisions/{name}/{verb}")).status == 200


async def named(azure: Any) -> tuple[str, str]:
    app = await azure.properties("containerApps/web")
    return app["latestRevisionName"], app["latestReadyRevisionName"]


async def mode(azure: Any, word: str) -> None:
    assert (await azure.patch({"configuration": {"activeRevisionsMode": word}})).status == 202


async def two_revisions(azure: Any, app_body: Any) -> tuple[str, str]:
    """Both running, in Multiple mode, all traffic to the latest."""
    await azure.put(app_body(configuration={"activeRevisionsMode": "Multiple"}))
    azure.advance(8)
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    azure.advance(8)
    first, second = (item["name"] for item in await azure.revisions())
    return first, second


async def test_multiple_mode_comes_too_late_for_one_that_stops(azure: Any, app_body: Any) -> None:
    """Recorded: a switch right after the new revision got ready didn't rescue the old one."""
    await azure.put(app_body())
    azure.advance(8)
    change = {"properties": {"template": {"containers": [{"name": "web", "image": "b"}]}}}
    await azure.ask("PATCH", "containerApps/web", change)
    azure.advance(15)
    await mode(azure, "Multiple")
    azure.advance(2)
    assert [item["active"] for item in await azure.revisions()] == [False, True]


async def test_a_switch_to_multiple_moves_no_traffic(azure: Any, app_body: Any) -> None:
    """The traffic that was stored says latest; the next revision gets it once it is ready."""
    await azure.put(app_body())
    azure.advance(8)
    before = targets(azure)
    await mode(azure, "Multiple")
    assert targets(azure) == before
    app = await azure.properties("containerApps/web")
    assert app["configuration"]["ingress"]["traffic"] == [{"weight": 100, "latestRevision": True}]


async def test_a_switch_to_single_waits_for_the_latest(azure: Any, app_body: Any) -> None:
    """While it isn't ready, the ones before it stay, and the latest ready one answers for all, whatever was pinned."""
    first, second = await two_revisions(azure, app_body)
    await azure.patch({"configuration": {"ingress": {"traffic": [{"revisionName": first, "weight": 100}]}}})
    container = {"name": "web", "image": "c", "env": [{"name": "LOCAL_AZURE_SIMULATE", "value": "never-ready"}]}
    await azure.patch({"template": {"containers": [container]}})
    await mode(azure, "Single")
    azure.advance(60)
    assert [item["active"] for item in await azure.revisions()] == [True] * 3
    assert targets(azure) == [(second, 100)]
    assert [item["trafficWeight"] for item in await azure.revisions()] == [0, 0, 100]


async def test_a_switch_to_single_keeps_what_serves_while_the_latest_is_inactive(azure: Any, app_body: Any) -> None:
    """Otherwise nobody would answer."""
    first, second = await two_revisions(azure, app_body)
    await act(azure, second, "deactivate")
    azure.advance(2)
    await mode(azure, "Single")
    azure.advance(10)
    assert [item["active"] for item in await azure.revisions()] == [True, False]
    assert targets(azure) == [(first, 100)]


async def test_a_deactivated_latest_gives_its_traffic_to_the_one_before(azure: Any, app_body: Any) -> None:
    """At once, and back when it is active and ready again; latestRevisionName stays."""
    first, second = await two_revisions(azure, app_body)
    await act(azure, second, "deactivate")
    seen = [(targets(azure), await named(azure))]
    azure.advance(10)
    await act(azure, second, "activate")
    seen.append((targets(azure), await named(azure)))
    azure.advance(8)
    seen.append((targets(azure), await named(azure)))
    assert seen == [
        ([(first, 100)], (second, first)),
        ([(first, 100)], (second, first)),
        ([(second, 100)], (second, second)),
    ]


async def test_without_any_active_revision_the_app_answers_404(azure: Any, app_body: Any) -> None:
    """The names stay, the app is Running; one that is activated has the traffic, with 503 until it is ready."""
    first, second = await two_revisions(azure, app_body)
    for name in (first, second):
        await act(azure, name, "deactivate")
    azure.advance(2)
    assert targets(azure) == []
    assert await named(azure) == (second, second)
    assert (await azure.properties("containerApps/web"))["runningStatus"] == "Running"
    await act(azure, first, "activate")
    assert targets(azure) == [(first, 100)]
    assert await named(azure) == (second, second)
    azure.advance(8)
    assert targets(azure) == [(first, 100)]
    assert await named(azure) == (second, first)


async def test_a_revision_that_stops_leaves_the_ingress_first(azure: Any, app_body: Any) -> None:
    """Its share goes to the others at once, its own address answers nobody, though its replica still runs."""
    first, second = await two_revisions(azure, app_body)
    split = [{"revisionName": first, "weight": 60}, {"revisionName": second, "weight": 40}]
    await azure.patch({"configuration": {"ingress": {"traffic": split}}})
    await act(azure, first, "deactivate")
    assert (await azure.triples())[0][3:] == ("Deprovisioning", 1)
    assert targets(azure) == [(second, 40)]
    assert targets(azure, f"{first}.env.localhost") == []
    assert [item["trafficWeight"] for item in await azure.revisions()] == [60, 40]


async def test_every_revision_has_its_own_address_in_single_mode_too(azure: Any, app_body: Any) -> None:
    """Of the new one before it is ready and gets traffic, of the old one as long as it runs."""
    await azure.put(app_body())
    azure.advance(8)
    container = {"name": "web", "image": "b", "env": [{"name": "LOCAL_AZURE_SIMULATE", "value": "never-ready"}]}
    await azure.patch({"template": {"containers": [container]}})
    first, second = (item["name"] for item in await azure.revisions())
    own = [targets(azure, f"{name}.env.localhost") for name in (first, second)]
    assert own == [[(first, 100)], [(second, 100)]]


async def test_in_single_mode_an_activated_older_one_gets_no_requests(azure: Any, app_body: Any) -> None:
    """Even when it is the only one that is ready: the latest ready one has them all."""
    await azure.put(app_body())
    azure.advance(8)
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    azure.advance(10)
    first, second = (item["name"] for item in await azure.revisions())
    await act(azure, first, "activate")
    azure.advance(8)
    await act(azure, second, "restart")
    assert [item[3] for item in await azure.triples()] == ["Running", "Activating"]
    assert targets(azure) == [(second, 100)]


async def test_one_revision_may_be_named_twice(azure: Any, app_body: Any) -> None:
    """As the latest and by name: the weights add up. Other sums than 100 are refused."""
    first, second = await two_revisions(azure, app_body)
    twice = [
        {"latestRevision": True, "weight": 30},
        {"revisionName": second, "weight": 20},
        {"revisionName": first, "weight": 50},
    ]
    await azure.patch({"configuration": {"ingress": {"traffic": twice}}})
    assert sorted(targets(azure)) == sorted([(first, 50), (second, 50)])
    assert [item["trafficWeight"] for item in await azure.revisions()] == [50, 50]
    answer = await azure.patch({"configuration": {"ingress": {"traffic": twice[:2]}}})
    assert (answer.status, "come to 50, not 100" in answer.body["error"]["message"]) == (400, True)
