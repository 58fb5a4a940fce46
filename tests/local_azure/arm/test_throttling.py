"""ARM's token buckets: who is refused, for how long, and who can see it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local_azure import clock
from infra.local_azure.arm import throttling

GROUP = "/resourcegroups/lab"
ACCOUNTS = f"{GROUP}/providers/Microsoft.Storage/storageAccounts"
LEFT = "x-ms-ratelimit-remaining-subscription"
START = datetime(2026, 1, 2, tzinfo=UTC)


def take(throttle: throttling.Throttle, method: str = "GET", **kind: Any) -> dict[str, str]:
    return throttle.take(method, "s", **{"principal": "me", "bucket": None, "resource_type": "", **kind})


def app_write(throttle: throttling.Throttle) -> dict[str, str]:
    return take(throttle, "PUT", bucket=throttling.RESOURCE_REQUESTS, resource_type="Microsoft.App/containerApps")


class Fast(clock.ScaledClock):
    """Time at a scale, at a moment that the test sets."""

    def __init__(self, scale: float) -> None:
        super().__init__(scale)
        self.at = START

    def now(self) -> datetime:
        return self.at


async def test_a_used_up_bucket_is_a_429_that_says_how_long(slow: Any, slow_arm: Any) -> None:
    """With the recorded body; a second later there is something left (documented: ten deletes a second)."""
    await slow_arm("PUT", GROUP, {"location": "westus3"})
    for _ in range(200):
        answer = await slow_arm("DELETE", f"{ACCOUNTS}/none")
    assert (answer.status, answer.headers[f"{LEFT}-deletes"]) == (204, "0")
    refused = await slow_arm("DELETE", f"{ACCOUNTS}/none")
    assert (refused.status, refused.body["error"]["code"]) == (429, "429")
    assert refused.body["error"]["message"] == (
        f"Request is temporarily throttled because tenant {slow.tenant} has issued too many requests. "
        "Retry after 1 seconds."
    )
    assert refused.headers["Retry-After"] == "1"
    slow.time.advance(1)
    assert (await slow_arm("DELETE", f"{ACCOUNTS}/none")).status == 204


async def test_who_was_throttled_is_in_the_journal(slow: Any, slow_arm: Any, state: Any) -> None:
    """The bucket and the client id, in memory and on disk, and a count by bucket."""
    await slow_arm("PUT", GROUP, {"location": "westus3"})
    for _ in range(202):
        await slow_arm("DELETE", f"{ACCOUNTS}/none")
    refused = [each for each in slow.requests if each.throttled]
    assert [(each.status, each.throttled, each.principal) for each in refused] == [(429, "deletes", slow.client_id)] * 2
    assert slow.server.throttled == {"deletes": 2}
    lines = [json.loads(line) for line in (state / "requests.jsonl").read_text().splitlines()]
    assert [(line["throttled"], line["principal"]) for line in lines if line["status"] == 429] == [
        ("deletes", slow.client_id)
    ] * 2


async def test_nothing_is_refused_where_the_settings_say_so(state: Any, serve: Any, plain: Any) -> None:
    """The headers are there all the same."""
    async with serve(state, clock.ManualClock(datetime.now(UTC)), throttled=False) as local, plain(local) as arm:
        answers = [await arm("GET", "/locations") for _ in range(260)]
    assert {(each.status, each.headers[f"{LEFT}-reads"]) for each in answers} == {(200, "249")}


def test_app_writes_count_twice_and_show_their_own_bucket() -> None:
    """A resource request and a write; an environment's bucket isn't an app's (recorded: 799 and 99 left)."""
    throttle = throttling.Throttle(clock.ManualClock(START), "t")
    environments = {"bucket": throttling.RESOURCE_REQUESTS, "resource_type": "Microsoft.App/managedEnvironments"}
    assert app_write(throttle) == {f"{LEFT}-resource-requests": "799"}
    assert take(throttle, "PUT", **environments) == {f"{LEFT}-resource-requests": "99"}
    assert take(throttle, "PUT")[f"{LEFT}-writes"] == "197"


def test_the_refill_of_resource_requests_is_a_setting() -> None:
    """It isn't documented; the capacity stays."""
    time = clock.ManualClock(START)
    for rate, expected in ((None, 2), (50.0, 50)):
        throttle = throttling.Throttle(time, "t", rate=rate)
        for _ in range(800):
            take(throttle, "POST", bucket=throttling.RESOURCE_REQUESTS, resource_type="x")
        time.advance(1)
        left = take(throttle, "POST", bucket=throttling.RESOURCE_REQUESTS, resource_type="x")
        assert left == {f"{LEFT}-resource-requests": str(expected - 1)}


def test_another_principal_has_buckets_of_its_own() -> None:
    """But not of the subscription's (documented)."""
    throttle = throttling.Throttle(clock.ManualClock(START), "t")
    first, second = take(throttle), take(throttle, principal="you")
    assert (first[f"{LEFT}-reads"], second[f"{LEFT}-reads"]) == ("249", "249")
    assert (first[f"{LEFT}-global-reads"], second[f"{LEFT}-global-reads"]) == ("16499", "16498")


@pytest.mark.parametrize(
    ("scale", "wait"), [(20, {"retry-after-ms": "50"}), (1, {"Retry-After": "1"}), (0, {"Retry-After": "1"})]
)
def test_buckets_fill_in_azures_time(scale: float, wait: dict[str, str]) -> None:
    """At twenty times the speed, twenty times as fast; at time scale 0 in real time."""
    time = Fast(scale)
    throttle = throttling.Throttle(time, "t")
    for _ in range(250):
        take(throttle)
    with pytest.raises(throttling.Refused) as refused:
        take(throttle)
    assert (refused.value.bucket, refused.value.principal, refused.value.headers) == ("reads", "me", wait)
    time.at += timedelta(seconds=0.1)
    assert take(throttle)[f"{LEFT}-reads"] == str(int(0.1 * 25 * (scale or 1)) - 1)
