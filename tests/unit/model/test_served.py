"""The model that an app serves: what may be said of it, the app's variables, the digests that it must answer with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from controller.model import observed, served
from tests.unit.plan import wanted

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CHECKED = {"check": {"path": "/readyz"}}


def problems(model: dict[str, Any], **spec: Any) -> list[tuple[str, str]]:
    """(place, message) of all that is wrong with an app of that model."""
    with pytest.raises(ValidationError) as caught:
        wanted.app(model=model, **spec)
    return [(".".join(map(str, each["loc"][1:])), each["msg"]) for each in caught.value.errors()]


def variables(**model: Any) -> dict[str, str]:
    return served.variables(served.ServedModel.model_validate({"base": "models/phi", **model}), mount="/mount")


@pytest.mark.parametrize("field", ["base", "adapter"])
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc", "an empty name"),
        ("../secrets", "'..'"),
        ("models/./phi", "'.'"),
        ("models//phi", "an empty name"),
        ("models/phi/", "an empty name"),
        ("", "an empty name"),
        ("models\\phi", "the character"),
        ("models/p\nhi", "the character '\\n'"),
        ("models/\x1b[2J", "the character '\\x1b'"),
        ("models/nul", "a reserved device name"),
        ("models/phi.", "a dot or blank at the end"),
        (".acaops/one/releases", "reserved"),
    ],
)
def test_a_folder_lies_on_the_share(field: str, path: str, why: str) -> None:
    """By a name that Azure Files can hold, and never outside."""
    ((place, message),) = problems({"base": "models/phi", field: path})
    assert place == f"model.{field}"
    assert why in message


@pytest.mark.parametrize("digest", ["a" * 64, "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha512:" + "a" * 64, ""])
def test_a_digest_is_written_as_readyz_gives_it(digest: str) -> None:
    """Anything else could never match."""
    ((place, message),) = problems({"base": "m", "baseDigest": digest}, rollout=CHECKED)
    assert (place, "sha256: and 64" in message) == ("model.baseDigest", True)


def test_a_digest_needs_somebody_to_compare_it() -> None:
    """The release's check does, and an adapter's an adapter."""
    model = {"base": "m", "adapter": "a", "baseDigest": A, "adapterDigest": B}
    told = "is compared by the release's check: add rollout: {check: {path: /readyz}}, or leave it out"
    assert problems(model) == [("model.baseDigest", told), ("model.adapterDigest", told)]
    told = "there is no adapter: name its folder, or leave the digest out"
    assert problems({"base": "m", "adapterDigest": B}, rollout=CHECKED) == [("model.adapterDigest", told)]
    assert wanted.app(model=model, rollout=CHECKED).spec.model == served.ServedModel.model_validate(model)


def test_the_app_is_told_where_its_model_lies() -> None:
    """Below the mount; that it has no adapter too, as a forgotten one must not look like that."""
    assert variables(adapter="models/pirate") == {
        "BASE_MODEL_DIR": "/mount/models/phi",
        "ADAPTER_DIR": "/mount/models/pirate",
    }
    assert variables() == {"BASE_MODEL_DIR": "/mount/models/phi", "BASE_ONLY": "1"}
    digests = {"ACAOPS_MODEL_DIGEST": A, "ACAOPS_ADAPTER_DIGEST": B}
    assert variables(adapter="a", baseDigest=A, adapterDigest=B).items() >= digests.items()
    assert variables().keys() | variables(adapter="a").keys() <= served.VARIABLES


def revision(*env: dict[str, str]) -> observed.Resource:
    return observed.Resource({"properties": {"template": {"containers": [{"env": list(env)}, {"name": "other"}]}}})


def answer(model: str | None = None, adapter: str | None = None) -> observed.Check:
    return observed.Check(200, None, "", conclusive=True, model_digest=model, adapter_digest=adapter)


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (answer(A, B), None),
        (answer(B, B), f"model_digest is {B}, wanted {A}"),
        (answer(None, B), f"model_digest is not told, wanted {A}"),
        (answer(B, A), f"model_digest is {B}, wanted {A}; adapter_digest is {A}, wanted {B}"),
    ],
)
def test_an_answer_is_held_to_the_revisions_digests(check: observed.Check, told: str | None) -> None:
    """Both values are told; an answer without one differs as well."""
    names = ("ACAOPS_MODEL_DIGEST", A), ("MODE", "chat"), ("ACAOPS_ADAPTER_DIGEST", B)
    live = revision(*({"name": name, "value": value} for name, value in names))
    assert served.mismatch(live, check) == told


def test_where_no_digest_is_named_any_will_do() -> None:
    """Also of a revision that somebody else made."""
    for live in (revision({"name": "MODE", "value": "chat"}), observed.Resource({})):
        assert served.mismatch(live, answer(A)) is None
