"""Who may do what where: credentials, subscriptions, clouds, and the guard list."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Command, Served, State

OTHER = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize("command", ["plan", "once"])
def test_without_credentials(acaops: Command, azure: Served, state: State, *, command: str) -> None:
    """The remedy is told, and nothing but the cloud's own description is asked for."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        acaops.env[name] = None
    told = acaops(command, state.folder)
    assert told.exit_code == 1
    assert "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET" in told.stderr
    assert "nothing to change" not in told.stdout
    assert "troubleshooting" not in told.stderr
    assert set(azure.requests) <= {"GET /metadata/endpoints"}


def test_a_wrong_secret(acaops: Command, azure: Served, state: State) -> None:
    """What Entra said is told, the secret isn't."""
    acaops.env["AZURE_CLIENT_SECRET"] = "not-the-right-one"
    told = acaops("once", state.folder)
    assert told.exit_code == 1
    assert "AADSTS7000215" in told.stderr
    assert "not-the-right-one" not in told.output
    assert azure.writes == []


def test_a_wrong_subscription(acaops: Command, azure: Served, state: State) -> None:
    """It is named, and nothing is written."""
    state.change("00000000-0000-0000-0000-000000000000", OTHER)
    for command in ("plan", "once"):
        told = acaops(command, state.folder)
        assert told.exit_code == 1
        assert OTHER in told.stderr
    assert azure.writes == []


def test_outside_of_the_guard_list(acaops: Command, azure: Served, state: State) -> None:
    """Looked at, never written; the option is named."""
    told = acaops("once", state.folder, "--allow", OTHER)
    assert told.exit_code == 1
    assert "/rg-cli is not among the groups this controller may touch (--allow)" in told.stderr
    assert azure.writes == []

    stopped = acaops("plan", state.folder, "--allow", f"{OTHER}/rg-cli")
    assert stopped.exit_code == 1
    assert "STOPPED: " in stopped.stdout


@pytest.mark.parametrize("cloud", ["http://127.0.0.1:8443", "management.azure.com", "https://"])
def test_a_cloud_that_is_not_https(acaops: Command, state: State, *, cloud: str) -> None:
    """Tokens are never sent in the clear; also where the address comes from the environment."""
    refused = acaops("plan", state.folder, "--cloud", cloud)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"error: --cloud {cloud}: must be an address that begins with https://")
    acaops.env["ACAOPS_CLOUD"] = cloud
    assert acaops("plan", state.folder).stderr == refused.stderr.replace("--cloud", "ACAOPS_CLOUD")


def test_a_cloud_that_is_away(acaops: Command, azure: Served, state: State) -> None:
    """The host is named."""
    acaops.env["ACAOPS_CLOUD"] = "https://127.0.0.1:9"
    told = acaops("plan", state.folder)
    assert told.exit_code == 1
    assert "127.0.0.1:9" in told.stderr
