"""The model that an app serves: its folders on the share, the variables by which the app is told of them, and the
digests that it must answer with.

What lies in the folders is judged by `plan.weights`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from controller.model import fields, observed
from controller.model.base import Model

BASE_DIR, ADAPTER_DIR, BASE_ONLY = "BASE_MODEL_DIR", "ADAPTER_DIR", "BASE_ONLY"
BASE_DIGEST, ADAPTER_DIGEST = "ACAOPS_MODEL_DIGEST", "ACAOPS_ADAPTER_DIGEST"

VARIABLES = {BASE_DIR, ADAPTER_DIR, BASE_ONLY}
"""Those of the app's variables that follow from `ServedModel`; the others begin with ACAOPS_, which no entry of an
app's own may."""

Digest = Annotated[
    str,
    fields.Text(r"sha256:[0-9a-f]{64}", "sha256: and 64 lower-case hexadecimal digits", least=71, most=71),
]


class ServedModel(Model):
    base: fields.Target
    """The base model's folder on the share, in the Hugging Face layout: config.json, *.safetensors, the tokenizer. The
    app is told of it by the variable BASE_MODEL_DIR. A new release waits until the folder is complete."""
    adapter: fields.Target | None = None
    """The LoRA adapter's folder on the share; by ADAPTER_DIR, and waited for as well. null: the base model alone, which
    the app is told by BASE_ONLY=1."""
    base_digest: Digest | None = None
    """What /readyz must give as `model_digest`. Needs rollout.check, like the other digest. Another value is another
    release: so weights that were replaced in place are rolled out."""
    adapter_digest: Digest | None = None
    """What /readyz must give as `adapter_digest`."""

    @property
    def digests(self) -> dict[str, str]:
        """The wanted ones, by the field they stand in."""
        given = {"baseDigest": self.base_digest, "adapterDigest": self.adapter_digest}
        return {name: digest for name, digest in given.items() if digest is not None}


def variables(model: ServedModel, *, mount: str) -> dict[str, str]:
    """The app's variables for `model` on the share that is mounted at `mount`. The digests are among them so that
    another digest is another release, and so that a revision says itself what it is to answer."""
    adapter = {BASE_ONLY: "1"} if model.adapter is None else {ADAPTER_DIR: f"{mount}/{model.adapter}"}
    wanted = {BASE_DIGEST: model.base_digest, ADAPTER_DIGEST: model.adapter_digest}
    digests = {name: digest for name, digest in wanted.items() if digest is not None}
    return {BASE_DIR: f"{mount}/{model.base}"} | adapter | digests


def problems(model: ServedModel, *, checked: bool) -> Iterable[tuple[fields.Loc, str]]:
    """What is wrong with it. `checked` says whether the app's endpoint is asked before a release counts as good."""
    for name in model.digests:
        if not checked:
            yield (name,), "is compared by the release's check: add rollout: {check: {path: /readyz}}, or leave it out"
    if model.adapter is None and model.adapter_digest is not None:
        yield ("adapterDigest",), "there is no adapter: name its folder, or leave the digest out"


def mismatch(revision: observed.Resource, check: observed.Check) -> str | None:
    """In what the answer differs from the digests that the revision's template names; None where it agrees. An answer
    without one differs too: it was asked for."""
    wanted = _wanted(revision)
    told = {BASE_DIGEST: ("model_digest", check.model_digest), ADAPTER_DIGEST: ("adapter_digest", check.adapter_digest)}
    found = [
        f"{name} is {digest or 'not told'}, wanted {wanted[variable]}"
        for variable, (name, digest) in told.items()
        if variable in wanted and digest != wanted[variable]
    ]
    return "; ".join(found) or None


def _wanted(revision: observed.Resource) -> Mapping[str, str]:
    containers = (revision.properties.get("template") or {}).get("containers") or ()
    said = [one for container in containers for one in container.get("env") or ()]
    return {
        str(one.get("name")): str(one.get("value")) for one in said if one.get("name") in (BASE_DIGEST, ADAPTER_DIGEST)
    }
