"""Addresses and refs: what is taken, what is refused and with which remedy; where submodules' addresses lead."""

from __future__ import annotations

import pytest

from controller.sources import git, remote


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path"),
    [
        ("https://github.com/org/app.git", "https", "github.com", None, "/org/app.git"),
        ("https://GitHub.com:8443/org/app", "https", "github.com", 8443, "/org/app"),
        ("https://[::1]:8443/app", "https", "::1", 8443, "/app"),
        ("https://org@dev.azure.com/org/my%20project/_git/app", "https", "dev.azure.com", None,
         "/org/my%20project/_git/app"),
        ("ssh://git@github.com/org/app.git", "ssh", "github.com", None, "/org/app.git"),
        ("ssh://git@host:2222/~/app", "ssh", "host", 2222, "/~/app"),
        ("git@github.com:org/app.git", "ssh", "github.com", None, "org/app.git"),
        ("file:///srv/app.git", "file", "", None, "/srv/app.git"),
        ("/srv/app.git", "file", "", None, "/srv/app.git"),
    ],
)  # fmt: skip
def test_an_address_is_taken(url: str, scheme: str, host: str, port: int | None, path: str) -> None:
    found = remote.parse(url)
    assert (found.scheme, found.host, found.port, found.path) == (scheme, host, port, path)
    assert remote.checked(url) == url
    assert found.url == (url if scheme != "https" else url.replace("org@", ""))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must be https://"),
        ("http://host/app", "being changed"),
        ("git://host/app", "being changed"),
        ("ftp://host/app", "must be https://"),
        ("ext::sh -c x", "must be https://"),
        ("fd::17/x", "must be https://"),
        ("relative/app", "must be https://"),
        ("./app", "must be https://"),
        ("-uproxy", "must be https://"),
        ("--upload-pack=x", "must be https://"),
        ("host:app", "must be https://"),
        ("git@host:", "must be https://"),
        ("git@host::app", "must be https://"),
        ("git@-oProxyCommand=x:app", "must be https://"),
        ("-oProxyCommand=x@host:app", "must be https://"),
        ("git@host:-app", "begins with '-'"),
        ("ssh://-oProxyCommand=x/app", "must name a host"),
        ("ssh://-l@host/app", "must name a host"),
        ("ssh://git@host/-app", "begins with '-'"),
        ("ssh://git@ho st/app", "must name a host"),
        ("https://host:99999/app", "Port out of range"),
        ("https:///app", "must name a host"),
        ("https://host", "end with the repository's path"),
        ("https://host/app?token=x", "end with the repository's path"),
        ("https://host/app#main", "end with the repository's path"),
        ("https://host/a\npp", "without control characters"),
        ("https://host/a%0apassword=x", "without control characters"),
        ("file://host/app", "three slashes"),
    ],
)
def test_an_address_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        remote.checked(url)
    with pytest.raises(git.FetchError) as error:
        remote.parse(url)
    assert error.value.reason == git.Reason.INVALID_URL


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2secret@host/app",
        "ssh://me:hunter2secret@host/app",
        "https://ghp_hunter2secret@github.com/app",
        f"https://hunter2secret{'a' * 40}@dev.azure.com/app",
    ],
)
def test_a_secret_in_an_address_is_refused(url: str) -> None:
    """With the remedy, and without the secret."""
    with pytest.raises(ValueError, match="set git-token-file") as error:
        remote.checked(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("ref", ["main", "feature/a.b", "v1.0", "refs/pull/1/merge", "a" * 40, "release@2"])
def test_a_ref_is_taken(ref: str) -> None:
    assert remote.checked_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    ["", "-x", "/a", "a/", "a//b", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a@{1}", "@", "a.lock",
     "a.lock/b", ".a", "a/.b", "a.", "a\x7f", "a\n"],
)  # fmt: skip
def test_a_ref_is_refused(ref: str) -> None:
    with pytest.raises(ValueError, match="must be a branch"):
        remote.checked_ref(ref)


@pytest.mark.parametrize(
    ("parent", "url", "found"),
    [
        ("https://host:8443/org/app.git", "../lib.git", "https://host:8443/org/lib.git"),
        ("https://host/org/app.git/", "../lib.git", "https://host/org/lib.git"),
        ("https://me@host/org/app", "../../other/lib", "https://host/other/lib"),
        ("https://host/org/app", "./sub", "https://host/org/app/sub"),
        ("git@host:org/app.git", "../lib.git", "git@host:org/lib.git"),
        ("ssh://git@host:22/org/app.git", "../lib.git", "ssh://git@host:22/org/lib.git"),
        ("file:///srv/app.git", "../lib.git", "file:///srv/lib.git"),
        ("/srv/app.git", "/srv/lib.git", "/srv/lib.git"),
        ("https://host/app", "git@other:lib", "git@other:lib"),
    ],
)
def test_a_submodules_address(parent: str, url: str, found: str) -> None:
    assert remote.submodule(remote.parse(parent), url).url == found


@pytest.mark.parametrize(
    ("parent", "url"),
    [
        ("https://host/org/app", "../../../lib"),
        ("https://host/org/app", "../.."),
        ("git@host:app", "../../lib"),
        ("git@host:app", "../-lib"),
        ("https://host/app", "file:///etc"),
        ("git@host:app", "/etc"),
        ("https://host/app", "http://host/lib"),
        ("https://host/app", "../a\nb"),
    ],
)
def test_a_submodules_address_is_refused(parent: str, url: str) -> None:
    with pytest.raises(git.FetchError) as error:
        remote.submodule(remote.parse(parent), url)
    assert error.value.reason == git.Reason.INVALID_SUBMODULE


def test_ways_to_one_place() -> None:
    """Credentials are for a host and port, however they are written."""
    assert remote.parse("git@host:app").place == remote.parse("ssh://me@HOST:22/app").place
    assert remote.parse("https://host/a").place == remote.parse("https://host:443/b").place
    assert remote.parse("https://host/a").place != remote.parse("https://host:8443/a").place
    assert remote.parse("https://host/a").place != remote.parse("ssh://git@host/a").place
