"""JSON pointers into a container app, and those that may not be ignored."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, TypeAdapter, ValidationError

from controller.model import pointers

POINTER: TypeAdapter[str] = TypeAdapter(Annotated[str, AfterValidator(pointers.checked)])
CONTAINER = "/properties/template/containers/phi3"


@pytest.mark.parametrize(
    "pointer",
    [
        "/properties/template/scale/maxReplicas",
        "/properties/template/scale",
        "/properties/template/volumes",
        f"{CONTAINER}/image",
        f"{CONTAINER}/env/LOG_LEVEL",
        f"{CONTAINER}/env/0/value",
        f"{CONTAINER}/probes",
        "/properties/configuration/ingress",
        "/properties/configuration/registries/x.azurecr.io",
        "/tags/team",
        "/identity",
        "/tags/a~1b~0c",
    ],
)
def test_what_may_be_ignored(pointer: str) -> None:
    """Single fields, entries by name or position, and whole parts that acaops can do without."""
    assert POINTER.validate_python(pointer) == pointer


@pytest.mark.parametrize(
    ("pointer", "says"),
    [
        ("", "is no JSON pointer: write /a/b"),
        ("properties/template", "is no JSON pointer"),
        ("/tags/a~b", "is no JSON pointer"),
        ("/tags/a~", "is no JSON pointer"),
        ("/", "must begin with one of /properties, /tags, /identity"),
        ("/spec/scale/maxReplicas", "the container app as Azure has it"),
        ("/location", "must begin with one of"),
        ("/properties", "depends on environmentid in it; point at single fields"),
        ("/properties/environmentId", "acaops itself depends on it"),
        ("/properties/managedEnvironmentId", "acaops itself depends on it"),
        ("/properties/template", "as a whole: acaops depends on containers/*/name in it"),
        ("/properties/template/containers", "as a whole"),
        (CONTAINER, "as a whole"),
        (f"{CONTAINER}/name", "acaops itself depends on it"),
        (f"{CONTAINER}/command/2", "acaops itself depends on it"),
        (f"{CONTAINER}/env", "depends on acaops_* in it"),
        (f"{CONTAINER}/env/ACAOPS_RELEASE", "acaops itself depends on it"),
        (f"{CONTAINER}/env/ACAOPS_RELEASE/value", "acaops itself depends on it"),
        ("/properties/configuration", "depends on secrets in it"),
        ("/properties/configuration/secrets/0", "acaops itself depends on it"),
        ("/tags", "depends on acaops-* in it"),
        ("/tags/ACAOPS-Owner", "acaops itself depends on it"),
    ],
)
def test_what_may_not_be_ignored(pointer: str, says: str) -> None:
    """What isn't a pointer into the app, and what says where it lies, whose it is and what it runs."""
    with pytest.raises(ValidationError) as caught:
        POINTER.validate_python(pointer)

    ((message),) = [error["msg"] for error in caught.value.errors()]
    assert says in message
    assert repr(pointer) in message


@given(st.lists(st.text(), min_size=1))
def test_a_pointer_reads_back(names: list[str]) -> None:
    """Any name can stand in it."""
    pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)

    assert pointers.tokens(pointer) == tuple(names)


@pytest.mark.parametrize(
    ("token", "position"), [("0", 0), ("12", 12), ("01", None), ("-", None), ("LOG", None), ("", None), ("٣", None)]
)
def test_positions(token: str, position: int | None) -> None:
    """RFC 6901: no leading zeros; anything else is a name."""
    assert pointers.index(token) == position
