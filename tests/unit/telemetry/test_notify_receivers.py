"""What each receiver is sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from controller.telemetry import receivers
from controller.telemetry.receivers import CommitStatus, Entry, Notice, Request

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHA = "1" * 40
NOTICE = Notice(
    "InferenceApp", "phi3-chat", "Stalled", "QuotaExceeded", "no A100", "it is Stalled", NOW, "r1", SHA, "https://a.b"
)
URL = "https://hooks.example/very-private"


def read(value: str) -> receivers.Read:
    return lambda: SecretStr(value)


def body(request: Request) -> Any:
    return json.loads(request.body)


def webhook(secret: str = "whsec_" + base64.b64encode(b"key").decode()) -> receivers.Webhook:
    return receivers.Webhook(read(URL), read(secret), "default")


def sent(told: Notice = NOTICE) -> Request:
    return webhook().request([Entry("msg_1", told)], now=NOW)


def test_a_webhook_has_the_facts() -> None:
    """The standard's envelope around what there is to know."""
    assert body(sent()) == {
        "type": "object.stalled",
        "timestamp": "2026-11-22T12:00:00Z",
        "data": {
            "inventory": "default",
            "kind": "InferenceApp",
            "name": "phi3-chat",
            "state": "Stalled",
            "severity": "error",
            "reason": "QuotaExceeded",
            "message": "no A100",
            "text": "it is Stalled",
            "release": "r1",
            "commit": SHA,
            "endpoint": "https://a.b",
        },
    }
    assert body(sent(replace(NOTICE, kind="Source", state="Ready")))["type"] == "source.ready"


def test_the_signature_is_the_standards_own() -> None:
    """The published example: this secret, id, time and body give this signature."""
    entry = Entry("msg_p5jXN8AQM9LWM0D4loKWxJek", NOTICE)
    one = webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = one.request([entry], now=datetime.fromtimestamp(1614265330, UTC))

    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    example = b'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}'
    assert _signature(key, example) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert found.headers["webhook-id"] == entry.id
    assert found.headers["webhook-timestamp"] == "1614265330"
    assert found.headers["webhook-signature"] == _signature(key, f"{entry.id}.1614265330.".encode() + found.body)
    assert (found.url, found.headers["Content-Type"]) == (URL, "application/json")


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_a_plain_secret_is_a_key_too() -> None:
    """One that isn't written as the standard writes it."""
    found = webhook("plain").request([Entry("msg_1", NOTICE)], now=NOW)

    signed = f"msg_1.{int(NOW.timestamp())}.".encode() + found.body
    assert found.headers["webhook-signature"] == _signature(b"plain", signed)


def test_a_secret_that_is_no_base64_is_named_without_it() -> None:
    """Rather than signed with something else."""
    with pytest.raises(receivers.ReceiverError, match="no base64") as caught:
        webhook("whsec_not*base64").request([Entry("msg_1", NOTICE)], now=NOW)
    assert "not*" not in str(caught.value)


LEAK = "Authorization: Bearer abc.def failed; sig=s3cr3t"
CLEAN = "Authorization: Bearer ********** failed; sig=**********"


def test_no_secret_leaves_with_a_text() -> None:
    """Azure's messages pass the log's mask, wherever they go."""
    told = replace(NOTICE, message=LEAK, text=LEAK)
    slack = receivers.Slack(read(URL), "default").request([Entry("msg_1", told)], now=NOW)
    status = _github().request([Entry("msg_1", CommitStatus(SHA, "failure", LEAK))], now=NOW)

    data = body(sent(told))["data"]
    assert (data["message"], data["text"]) == (CLEAN, CLEAN)
    assert body(slack)["text"].endswith(CLEAN)
    assert body(status)["description"] == CLEAN


def test_a_request_shows_nothing() -> None:
    """Its address and headers may be secrets."""
    assert repr(sent()) == "Request()"


def test_slack_gets_lines_that_mention_nobody() -> None:
    """One per notice; what Slack would take for a mention or a link stays text."""
    told = replace(NOTICE, text="<!channel> & <https://evil|click> <@U1>")
    entries = [Entry("1", told), Entry("2", replace(NOTICE, state="Ready", text="is Ready"))]
    found = receivers.Slack(read(URL), "default").request(entries, now=NOW)

    assert body(found) == {
        "text": "❌ [default] &lt;!channel&gt; &amp; &lt;https://evil|click&gt; &lt;@U1&gt;\n✅ [default] is Ready",
        "mrkdwn": False,
        "unfurl_links": False,
    }


def test_a_slack_line_is_one_line() -> None:
    """Of a bounded length: an error may be pages."""
    found = receivers.Slack(read(URL), "default").request([Entry("1", replace(NOTICE, text="x\n" * 4000))], now=NOW)

    (line,) = body(found)["text"].splitlines()
    assert len(line) == len("❌ [default] ") + 1000


def _github(api: str = "https://api.github.com") -> receivers.GitHub:
    return receivers.GitHub(read("ghp_token"), api, "acme", "state", "prod")


def test_github_gets_a_commit_status() -> None:
    """Under the inventory's context, on one line of at most 140 characters."""
    told = CommitStatus(SHA, "failure", "InferenceApp/a:\n  " + "x" * 200)
    found = _github().request([Entry("msg_1", told)], now=NOW)

    description = body(found)["description"]
    assert found.url == f"https://api.github.com/repos/acme/state/statuses/{SHA}"
    assert found.headers["Authorization"] == "Bearer ghp_token"
    assert body(found) == {"state": "failure", "context": "acaops/prod", "description": description}
    assert description == "InferenceApp/a: " + "x" * 123 + "…"
    assert len(description) == 140


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x", "http://hook.localhost:1/"]
)
def test_addresses_that_are_allowed(url: str) -> None:
    """https anywhere, http only within this machine."""
    assert receivers.checked(SecretStr(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "http://127.0.0.1.example/x",
        "ftp://x/y",
        "https://",
        "hooks.example/x",
        "http://[x",
        "https://x:port/",
        "",
        "file:///etc/passwd",
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    """The message doesn't repeat them."""
    with pytest.raises(receivers.ReceiverError) as caught:
        receivers.checked(SecretStr(url))
    assert "its address" in str(caught.value)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/state.dev.git",
        "https://github.com/acme/state.dev",
        "https://ada@github.com/acme/state.dev/",
        "ssh://git@github.com/acme/state.dev.git",
        "ssh://git@ssh.github.com:443/acme/state.dev.git",
        "git@github.com:acme/state.dev.git",
        "github-work:acme/state.dev",
    ],
)
def test_owner_and_name_of_a_repository(url: str) -> None:
    """However git is told of it."""
    assert receivers.repository(url) == ("acme", "state.dev")


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme",
        "https://gitlab.com/a/b/c",
        "file:///acme/state",
        "/acme/state",
        "https://github.com/",
        "https://github.com/acme/..",
        "git@github.com:../state.git",
        "C:",
    ],
)
def test_what_is_no_github_repository(url: str) -> None:
    """Told at the start, not with the first commit."""
    with pytest.raises(receivers.ReceiverError, match="no owner and name"):
        receivers.repository(url)
