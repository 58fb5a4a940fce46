"""`acaops reconcile`, as far as it goes without a daemon."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command

NOWHERE = "http://127.0.0.1:9"


def test_the_token_is_a_setting(acaops: Command, tmp_path: Path) -> None:
    """A variable, or a file that a flag names; without one nothing is asked, and how to give one is said."""
    without = acaops("reconcile", "chat", "--url", NOWHERE)
    assert without.exit_code == 1
    assert "set ACAOPS_API_TOKEN, or --api-token-file" in without.stderr
    file = tmp_path / "token"
    file.write_text("hunter2\n")
    for given in (("--api-token-file", str(file)), ()):
        told = acaops("reconcile", "chat", "--url", NOWHERE, *given)
        assert (told.exit_code, told.stdout) == (1, "")
        assert told.stderr == (
            f"error: no daemon answers at {NOWHERE}; start acaops run, or name its address by --url\n"
        )
        acaops.env["ACAOPS_API_TOKEN"] = "hunter2"


def test_a_token_that_can_not_be_read(acaops: Command, tmp_path: Path) -> None:
    """The file is named."""
    told = acaops("reconcile", "chat", "--url", NOWHERE, "--api-token-file", str(tmp_path / "none"))
    assert told.exit_code == 1
    assert f"{tmp_path}/none can't be read" in told.stderr


def test_a_lease_that_is_no_share(acaops: Command) -> None:
    """Its address and its length are checked before anything is asked."""
    for flag, value, why in (
        ("--lease", "http://account.file.core.windows.net/lease", "tokens are never sent in the clear"),
        ("--lease", "https://account.file.core.windows.net/", "must be a share's address"),
        ("--lease-duration", "10s", "must be 15s to 60s"),
    ):
        told = acaops("once", flag, value)
        assert told.exit_code == 1
        assert why in told.stderr
