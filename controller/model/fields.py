"""The value types of the desired state: durations, names, paths, and the one way to refuse a value.

Knows nothing of the objects they stand in (see `desired`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from controller.model import moments

Loc = tuple[str | int, ...]

_DURATION = re.compile(
    r"(?=[0-9])" + "".join(rf"(?:([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?){unit})?" for unit in ("h", "m", "s", "ms"))
)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_UNITS = (3600.0, 60.0, 1.0, 0.001)
DURATION_JSON_PATTERN = r"^(?=[0-9])([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$"

# documented: "Naming and referencing shares, directories, files, and metadata"
_FILES_FORBIDDEN = re.compile(r'["\\/:|<>*?\x00-\x1f\x7f\ud800-\udfff]')
_FILES_RESERVED = re.compile(r"(?i)(LPT[1-9]|COM[1-9]|PRN|AUX|NUL|CON|CLOCK\$)(\..*)?")
_FILES_NAME_LENGTH = 255

_CREDENTIALS = (
    *("AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    *("IDENTITY_HEADER", "MSI_SECRET"),
)


def refusal(message: str) -> PydanticCustomError:
    """The error a validator raises; `message` reaches the user as it is."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def refuse(problems: Iterable[tuple[Loc, str]]) -> None:
    """Raise every problem at its own place below the value being validated; nothing where there is none."""
    errors: list[InitErrorDetails] = [
        {"type": refusal(message), "loc": loc, "input": None} for loc, message in problems
    ]
    if errors:
        raise ValidationError.from_exception_data("refused", errors, hide_input=True)


def not_yet(what: str, planned: Callable[[Any], bool]) -> BeforeValidator:
    """Refuse the values `planned` picks: they are part of the format, but this version does nothing with them."""

    def check(value: Any) -> Any:
        if planned(value):
            raise refusal(f"not yet: {what} isn't supported in this version")
        return value

    return BeforeValidator(check)


def unspaced(value: Any) -> Any:
    """Words with a blank after their commas, as Azure writes them, without it."""
    return value.replace(", ", ",") if isinstance(value, str) else value


def given(value: Any) -> bool:
    """For `not_yet`: something other than null, [] or {}."""
    return value is not None and value != [] and value != () and value != {}


@dataclass(frozen=True)
class Text:
    """For `Annotated[str, ...]`: the whole string matches `pattern`, its length is in `least`..`most` characters."""

    pattern: str
    says: str
    most: int
    least: int = 1

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        limits = {"pattern": f"^(?:{self.pattern})$", "minLength": self.least, "maxLength": self.most}
        return handler(schema) | limits

    def _check(self, value: str) -> str:
        if not self.least <= len(value) <= self.most or re.fullmatch(self.pattern, value) is None:
            raise refusal(f"{value!r} must be {self.least} to {self.most} characters: {self.says}")
        return value


def seconds(text: str) -> float:
    """`1h30m` -> 5400.0. Units h, m, s, ms, in this order. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number and a unit (h, m, s, ms), like 20m or 1h30m")
    return math.fsum(float(number) * unit for number, unit in zip(match.groups(), _UNITS, strict=True) if number)


def duration(value: float) -> str:
    """The inverse of `seconds`, to the millisecond: 5400.0 -> `1h30m`."""
    left, parts = round(value * 1000), []
    for name, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


@dataclass(frozen=True)
class Seconds:
    """For `Annotated[float, ...]`: written as a duration, kept in seconds, `least` < or = value <= `most`."""

    most: float = math.inf
    zero: bool = False
    whole: bool = False
    why: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(duration, when_used="json")
        return core_schema.no_info_plain_validator_function(self._check, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": DURATION_JSON_PATTERN}

    def _check(self, value: Any) -> float:
        if not isinstance(value, str):
            raise refusal("write a duration as a number and a unit (h, m, s, ms), like 20m or 1h30m")
        try:
            parsed = seconds(value)
        except ValueError as error:
            raise refusal(str(error)) from None
        if parsed == 0 and not self.zero:
            raise refusal("must be longer than 0s")
        if parsed > self.most:
            raise refusal(f"{value} is longer than {duration(self.most)}{self.why}")
        if self.whole and parsed % 1:
            raise refusal(f"{value} must be whole seconds")
        return parsed


class Instant:
    """For `Annotated[datetime, ...]`: written as RFC 3339 with its zone, kept aware, to the second."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(moments.rfc3339, when_used="json")
        return core_schema.no_info_plain_validator_function(self._check, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time"}

    def _check(self, value: Any) -> datetime:
        match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
        try:
            if match:
                return datetime.fromisoformat(f"{match[1]}T{match[2]}{match[3].upper().replace('Z', '+00:00')}")
        except ValueError:
            pass
        raise refusal(f"{value!r} is no time: write RFC 3339 with its zone, like 2026-11-22T18:00:00Z")


def _memory(value: str) -> str:
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?Gi", value) is None or float(value.removesuffix("Gi")) == 0:
        raise refusal(f"{value!r} is no amount of memory: write GiB, like 220Gi or 1.5Gi")
    return value


def illegal_on_files(name: str) -> str | None:
    """Why Azure Files can't hold a file or folder called `name` (one path component), None when it can."""
    if not name or name in (".", ".."):
        return "an empty name, '.' or '..'"
    if len(name) > _FILES_NAME_LENGTH:
        return f"longer than {_FILES_NAME_LENGTH} characters"
    if found := _FILES_FORBIDDEN.search(name):
        return f"the character {found.group()!a}"
    if _FILES_RESERVED.fullmatch(name):
        return "a reserved device name"
    # assumed: Files strips a trailing dot unless told not to; a trailing blank can't be reached over SMB
    return "a dot or blank at the end" if name[-1] in ". " else None


def _target(value: str) -> str:
    parts = value.split("/")
    for part in parts:
        if reason := illegal_on_files(part):
            raise refusal(f"{value!r} must be a relative POSIX path that Azure Files can hold: {reason}")
    if parts[0].lower().startswith(".acaops"):
        raise refusal(f"{value!r}: names beginning with .acaops are reserved")
    return value


def _mount_path(value: str) -> str:
    parts = value.split("/")
    if (
        parts[0]
        or len(parts) < 2
        or not all(parts[1:])
        or {".", ".."} & set(parts)
        or re.search(r"[\\:\x00-\x1f]", value)
    ):
        raise refusal(f"{value!r} must be an absolute POSIX path below /, without '..', like /mount")
    return value


def _url_path(value: str) -> str:
    if re.fullmatch(r"/[!-~]*", value) is None or "#" in value:
        raise refusal(f"{value!r} must be a URL path that begins with /, like /readyz")
    return value


def nested(paths: Iterable[str]) -> list[tuple[int, str]]:
    """(index, the earlier path) of each path that equals, holds or lies in an earlier one, as on a share whose
    names are case-insensitive."""
    seen: list[str] = []
    found = []
    for index, path in enumerate(paths):
        clash = next((other for other in seen if overlap(other, path)), None)
        if clash is not None:
            found.append((index, clash))
        seen.append(path)
    return found


def overlap(one: str, other: str) -> bool:
    """Equal, or one inside the other; case-insensitive."""
    first, second = f"{one.casefold()}/", f"{other.casefold()}/"
    return first.startswith(second) or second.startswith(first)


def _tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    refuse(_tag_problems(tags))
    return tags


def _tag_problems(tags: Mapping[str, str]) -> Iterable[tuple[Loc, str]]:
    """documented: 50 tags a resource (ten are kept for acaops), values of 256 characters, names of 128 on a storage
    account, case-insensitive."""
    if len(tags) > 40:
        yield (), f"{len(tags)} tags: at most 40"
    seen: dict[str, str] = {}
    for name, value in tags.items():
        if name.lower().startswith("acaops-"):
            yield (name,), f"tag {name!r}: the prefix acaops- is reserved"
        if not 1 <= len(name) <= 128 or re.search(r"[<>%&\\?/\x00-\x1f]", name):
            yield (name,), f"tag {name!r}: 1 to 128 characters, none of <>%&\\?/"
        if len(value) > 256:
            yield (name,), f"tag {name!r}: its value has more than 256 characters"
        if (earlier := seen.setdefault(name.lower(), name)) != name:
            yield (name,), f"tag {name!r}: the same name as {earlier!r} (Azure ignores case)"


def is_controllers(variable: str) -> bool:
    """Whether an environment variable holds what the controller proves itself by, to Azure or to anybody else.

    documented: azure-identity's EnvironmentCredential; App Service's and Container Apps' managed identity endpoints.
    """
    return variable.upper().startswith("ACAOPS_") or variable.upper() in _CREDENTIALS


def duplicates(names: Iterable[str]) -> list[tuple[int, str]]:
    """(index, name) of each name that was there before, ignoring case."""
    seen: set[str] = set()
    found = []
    for index, name in enumerate(names):
        if name.lower() in seen:
            found.append((index, name))
        seen.add(name.lower())
    return found


Duration = Annotated[float, Seconds()]
Moment = Annotated[datetime, Instant()]
Memory = Annotated[str, AfterValidator(_memory), Field(json_schema_extra={"pattern": r"^[0-9]+(\.[0-9]+)?Gi$"})]
Target = Annotated[str, AfterValidator(_target)]
MountPath = Annotated[str, AfterValidator(_mount_path)]
UrlPath = Annotated[str, AfterValidator(_url_path)]
Tags = Annotated[Mapping[str, str], AfterValidator(_tags)]
Line = Annotated[str, Text(r"(?s).*\S.*", "not blank", most=100_000)]

ObjectName = Annotated[
    str, Text(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and inner hyphens", most=63)
]
Guid = Annotated[
    str,
    Text(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a GUID", least=36, most=36),
    AfterValidator(str.lower),
]
GroupName = Annotated[str, Text(r"[-\w.()]*[-\w()]", "letters, digits, . _ - ( ), no dot at the end", most=90)]
Location = Annotated[
    str, Text(r"[a-z][a-z0-9]*", "the region's code, lower-case without blanks, like westus3", most=64)
]
AccountName = Annotated[str, Text(r"[a-z0-9]+", "lower-case letters and digits", least=3, most=24)]
ShareName = Annotated[
    str, Text(r"[a-z0-9]+(-[a-z0-9]+)*", "lower-case letters, digits and single inner hyphens", least=3, most=63)
]
WorkspaceName = Annotated[
    str, Text(r"[A-Za-z0-9][-A-Za-z0-9]*[A-Za-z0-9]", "letters, digits and inner hyphens", least=4, most=63)
]
EnvironmentName = Annotated[
    str, Text(r"[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?", "letters, digits, inner hyphens, a letter first", most=60)
]
StorageName = Annotated[
    str,
    Text(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits, single inner hyphens, a letter first", most=23),
]
AppName = Annotated[
    str,
    Text(
        r"[a-z][a-z0-9]*(-[a-z0-9]+)*",
        "lower-case letters, digits, single inner hyphens, a letter first",
        least=2,
        most=32,
    ),
]
SecretName = Annotated[
    str, Text(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and inner hyphens", most=54)
]
ProfileName = Annotated[
    str, Text(r"[A-Za-z]([-A-Za-z0-9_]*[A-Za-z0-9])?", "letters, digits, - and _, a letter first", most=60)
]
VariableName = Annotated[str, Text(r"[-._A-Za-z][-._A-Za-z0-9]*", "letters, digits, - . _, no digit first", most=512)]
IdentityId = Annotated[
    str,
    Text(
        r"/[sS]ubscriptions/[^/\s]+/[rR]esource[gG]roups/[^/\s]+/[pP]roviders/[mM]icrosoft\.[mM]anaged[iI]dentity"
        r"/[uU]ser[aA]ssigned[iI]dentities/[^/\s]+",
        "the resource id of a user-assigned identity",
        most=1024,
    ),
]
Server = Annotated[
    str,
    Text(r"[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?(:[0-9]{1,5})?", "a host, like myregistry.azurecr.io", most=255),
]
Remark = Annotated[str, Text(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*", "one line of text", most=240)]
ImageName = Annotated[
    str, Text(r"[a-zA-Z0-9][!-~]*", "an image reference like docker.io/library/python:3.11", most=1024)
]
