"""What shares, directories and files may be called, and how a URL's path becomes their names. Pure.

Rules are documented (naming and referencing shares, directories, files, and metadata). What a path can't
express here can't reach the disk: no component is `.` or `..`, none holds a separator or a NUL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from infra.local_azure.files import errors

Parts = tuple[str, ...]
"""A path below the share's root, component by component; empty for the root itself."""

_SHARE = re.compile(r"[a-z0-9](?:-?[a-z0-9])+")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_FORBIDDEN = re.compile(r'["\\/:|<>*?\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_DEVICES = re.compile(r"(?:LPT[1-9]|COM[1-9]|PRN|AUX|NUL|CON|CLOCK\$)", re.IGNORECASE)
_LONGEST_NAME = 255
_LONGEST_PATH = 2048
_DEEPEST = 250


def is_share(name: str) -> bool:
    """3 to 63 lower-case letters, digits and single hyphens inside."""
    return 3 <= len(name) <= 63 and _SHARE.fullmatch(name) is not None


def is_account(name: str) -> bool:
    """3 to 24 lower-case letters and digits."""
    return _ACCOUNT.fullmatch(name) is not None


def is_component(name: str) -> bool:
    """Whether a file or directory may have this name. A trailing dot is for the caller to judge."""
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.strip(".") != ""
        and _FORBIDDEN.search(name) is None
        and _DEVICES.fullmatch(name) is None
    )


def split(raw: str, *, trailing_dots: bool) -> tuple[str | None, Parts]:
    """The share and the path in it that the percent-encoded `raw` names, e.g. `/s/dir%20x/f`.

    The share is None for the account itself. `%2F` separates like `/` (az sends `dir%2Ffile`); empty
    components are dropped (assumed). Trailing dots are trimmed unless `trailing_dots`
    (documented: x-ms-allow-trailing-dot). Raises FilesError InvalidUri, InvalidResourceName or
    InvalidFileOrDirectoryPathName, all 400.
    """
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeError:
        raise errors.FilesError("InvalidUri") from None
    share, *rest = [part for part in path.split("/") if part] or [""]
    if not share:
        return None, ()
    if not is_share(share):
        raise errors.FilesError("InvalidResourceName")
    return share, _path(rest, trailing_dots=trailing_dots)


def _path(components: list[str], *, trailing_dots: bool) -> Parts:
    kept = tuple(name if trailing_dots else name.rstrip(".") for name in components)
    if any(len(name) > _LONGEST_NAME for name in kept) or len("/".join(kept)) > _LONGEST_PATH:
        raise errors.FilesError("InvalidFileOrDirectoryPathName")
    if len(kept) > _DEEPEST:
        raise errors.FilesError("InvalidFileOrDirectoryPathName", "File or directory path has too many subdirectories.")
    if not all(is_component(name) for name in kept):
        raise errors.FilesError("InvalidResourceName")
    return kept


def fold(name: str) -> str:
    """Equal for names the service holds to be the same: case is kept and doesn't count."""
    if name.isascii():
        return name.upper()
    return "".join(upper if len(upper := letter.upper()) == 1 else letter for letter in name)
