"""Rules by which the local Azure fails on purpose."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from infra.local_azure import faults

GROUP = "/resourcegroups/rg"


async def test_an_answer_by_rule(local: Any, arm: Any) -> None:
    """The error is ARM's shape; the request isn't carried out; the rule applies so many times."""
    rule = faults.Rule("/resourcegroups/RG$", "PUT", status=429, code="429", headers={"Retry-After": "3"}, times=1)
    local.server.faults.rules.append(rule)
    assert (await arm("GET", GROUP)).status == 404
    refused = await arm("PUT", GROUP, {"location": "westus3"})
    assert (refused.status, refused.headers["Retry-After"], refused.body["error"]["code"]) == (429, "3", "429")
    assert (await arm("GET", GROUP)).status == 404
    assert (await arm("PUT", GROUP, {"location": "westus3"})).status == 201


@pytest.mark.parametrize(("does", "status"), [("reset", 404), ("lost", 200)])
async def test_a_broken_connection_by_rule(local: Any, arm: Any, does: Any, status: int) -> None:
    """Lost is carried out, reset is not; the journal has both. The client repeats such a PUT once, hence twice."""
    local.server.faults.rules.append(faults.Rule("/resourcegroups/rg$", "PUT", does=does, times=2))
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await arm("PUT", GROUP, {"location": "westus3"})
    assert (await arm("GET", GROUP)).status == status
    assert len([each for each in local.requests if each.method == "PUT"]) in (1, 2)
