"""Which writes make a revision, and what it is called."""

import re
from typing import Any

import pytest


async def test_the_first_name_is_random_and_later_ones_count(azure: Any, app_body: Any) -> None:
    """`<app>--<7 of a-z0-9>`, then `<app>--0000001`, `<app>--0000002`."""
    await azure.put(app_body())
    for image in ("b", "c"):
        await azure.patch({"template": {"containers": [{"name": "web", "image": image}]}})
    names = [item["name"] for item in await azure.revisions()]
    assert re.fullmatch(r"web--[a-z0-9]{7}", names[0])
    assert names[1:] == ["web--0000001", "web--0000002"]


async def test_an_equal_template_makes_none(azure: Any, app_body: Any) -> None:
    """Neither as a PUT, nor with the server's defaults sent back, nor with other secrets and tags."""
    await azure.put(app_body())
    await azure.put(app_body() | {"tags": {"a": "b"}})
    spelled_out: dict[str, Any] = {
        "name": "web",
        "image": "docker.io/library/python:3.12",
        "imageType": "ContainerImage",
        "env": [],
        "probes": None,
        "resources": {"cpu": 0.5, "memory": "1.0Gi", "ephemeralStorage": "2Gi"},
    }
    scale: dict[str, Any] = {
        "minReplicas": None,
        "maxReplicas": 10,
        "cooldownPeriod": 300,
        "pollingInterval": 30,
        "rules": [],
    }
    await azure.patch({"template": {"containers": [spelled_out], "scale": scale, "revisionSuffix": ""}})
    await azure.patch({"configuration": {"secrets": [{"name": "a", "value": "b"}], "maxInactiveRevisions": 5}})
    assert len(await azure.revisions()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"scale": {"minReplicas": 2}},
        {"terminationGracePeriodSeconds": 60},
        {"containers": [{"name": "web", "image": "docker.io/library/python:3.12", "args": ["-V"]}]},
    ],
)
async def test_any_change_of_the_template_makes_one(azure: Any, app_body: Any, change: dict[str, Any]) -> None:
    """Scale and grace period count as much as containers."""
    await azure.put(app_body())
    await azure.patch({"template": change})
    assert len(await azure.revisions()) == 2


async def test_an_equal_template_with_a_new_suffix_makes_one(azure: Any, app_body: Any) -> None:
    """Recorded 9 of 9."""
    await azure.put(app_body(template={"revisionSuffix": "one"}))
    await azure.patch({"template": {"revisionSuffix": "two"}})
    assert [item["name"] for item in await azure.revisions()] == ["web--one", "web--two"]


async def test_older_versions_ignore_a_re_used_suffix(azure: Any, app_body: Any) -> None:
    """The operation succeeds, a GET shows the new template, the revision stays the old one."""
    await azure.put(app_body(template={"revisionSuffix": "one"}))
    change = {"properties": {"template": {"containers": [{"name": "web", "image": "b"}]}}}
    assert (await azure.ask("PATCH", "containerApps/web", change, api="2024-03-01")).status == 202
    azure.advance(15)
    app = await azure.properties("containerApps/web")
    revisions = await azure.revisions()
    assert app["template"]["containers"][0]["image"] == "b"
    assert [item["name"] for item in revisions] == [app["latestRevisionName"]] == ["web--one"]
    assert revisions[0]["template"]["containers"][0]["image"] == "docker.io/library/python:3.12"


@pytest.mark.parametrize("suffix", ["one", "two"])
async def test_a_re_used_suffix_is_refused(azure: Any, app_body: Any, suffix: str) -> None:
    """Of the latest revision or an older one: a name can't come back with another template."""
    await azure.put(app_body(template={"revisionSuffix": "one"}))
    await azure.patch({"template": {"revisionSuffix": "two"}})
    changed = {"containers": [{"name": "web", "image": "b"}], "revisionSuffix": suffix}
    answer = await azure.patch({"template": changed})
    assert (answer.status, answer.body["error"]["message"]) == (400, f"revision with suffix {suffix} already exists")
    assert (await azure.patch({"template": {"revisionSuffix": "two"}})).status == 202


async def test_clearing_the_suffix_alone_makes_none(azure: Any, app_body: Any) -> None:
    """The next change of the template is named by the counter again."""
    await azure.put(app_body(template={"revisionSuffix": "one"}))
    await azure.patch({"template": {"revisionSuffix": None}})
    assert len(await azure.revisions()) == 1
    await azure.patch({"template": {"containers": [{"name": "web", "image": "b"}]}})
    assert [item["name"] for item in await azure.revisions()] == ["web--one", "web--0000001"]
