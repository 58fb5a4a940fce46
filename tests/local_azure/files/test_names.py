"""Names: what may be called what, and that no path leaves its share."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.storage.fileshare.aio import ShareClient

from infra.local_azure.files import errors, names
from tests.local_azure.files.service import Service, Wire


@pytest.mark.parametrize("name", ["abc", "a-b", "0" * 63, "my-files-1"])
def test_share_names(name: str) -> None:
    """3 to 63 lower-case letters, digits, single hyphens inside."""
    assert names.is_share(name)


@pytest.mark.parametrize("name", ["ab", "0" * 64, "A-b", "-ab", "ab-", "a--b", "a_b", "a.b", "abc\n"])
def test_share_names_that_cannot_be(name: str) -> None:
    """Everything else is refused."""
    assert not names.is_share(name)


@pytest.mark.parametrize(
    "path",
    [
        "/data/..",
        "/data/../../etc/passwd",
        "/data/%2e%2e/x",
        "/data/a/..%2f..%2fx",
        "/data/a%5c..%5cx",
        "/data/./x",
        "/data/...",
        "/data/a%00b",
        "/data/a%0ab",
        "/data/a%3ab",
        "/data/NUL",
        "/data/com1/x",
        "/data/%ff",
        "/DATA/x",
        "/data/" + "n" * 256,
        "/data/" + "d/" * 251,
    ],
)
def test_hostile_paths(path: str) -> None:
    """Each is 400, with or without trailing dots."""
    for trailing_dots in (False, True):
        with pytest.raises(errors.FilesError) as caught:
            names.split(path, trailing_dots=trailing_dots)
        assert caught.value.status == 400


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", (None, ())),
        ("/data/", ("data", ())),
        ("/data/dir%2Ffile", ("data", ("dir", "file"))),
        ("/data//etc//passwd/", ("data", ("etc", "passwd"))),
        ("/data/%C3%BC%20+%25", ("data", ("ü +%",))),
        ("/data/v1./x..", ("data", ("v1", "x"))),
    ],
)
def test_paths(path: str, found: tuple[str | None, names.Parts]) -> None:
    """Decoded first, then split: an encoded slash separates; trailing dots are trimmed."""
    assert names.split(path, trailing_dots=False) == found


def test_trailing_dots_are_kept_on_request() -> None:
    """Documented: x-ms-allow-trailing-dot."""
    assert names.split("/data/v1./x..", trailing_dots=True) == ("data", ("v1.", "x.."))


async def test_case_is_kept_and_does_not_count(share: ShareClient) -> None:
    """A name finds a file in any case; the first write's casing stays."""
    await share.create_directory("Models")
    await share.get_file_client("models/README.md").create_file(2)
    await share.get_file_client("MODELS/readme.MD").upload_file(b"x")
    listing = [entry.name async for entry in share.list_directories_and_files("mOdels")]
    assert listing == ["README.md"]


async def test_links_are_never_followed(service: Service, wire: Wire, share: ShareClient, tmp_path: Path) -> None:
    """A link out of the share reads as empty, can't be written through or walked through, and can be deleted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (service.folder() / "link").symlink_to(outside / "secret")
    (service.folder() / "dir").symlink_to(outside)

    assert (await wire("GET", "/data/link"))[1] == b""
    assert (await wire("GET", "/data/dir/secret"))[0].status == 404
    assert (await wire("GET", "/data/dir?restype=directory&comp=list"))[0].status == 404
    write = {"x-ms-range": "bytes=0-0", "x-ms-write": "update"}
    assert (await wire("PUT", "/data/link?comp=range", headers=write, data=b"y"))[0].status == 409
    create = {"x-ms-type": "file", "x-ms-content-length": "0"}
    assert (await wire("PUT", "/data/dir/new", headers=create))[0].status == 404
    assert (await wire("PUT", "/data/link", headers=create))[0].status == 201
    assert (await wire("DELETE", "/data/dir"))[0].status == 202

    assert not (service.folder() / "dir").is_symlink()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "secret"}


async def test_hostile_path_on_the_wire(wire: Wire, share: ShareClient) -> None:
    """The answer is the service's error, not the server's."""
    answer, body = await wire("GET", "/data/%2e%2e%2f%2e%2e%2fetc%2fpasswd")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "InvalidResourceName")
    assert b"<Code>InvalidResourceName</Code>" in body
