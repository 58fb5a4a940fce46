"""The loaded model and the adapter on it: puts one on, exchanges it, takes it back. Also `check-adapter`'s verdict.

Merged, the base's parameters are written in place: whatever holds them (the batching engine, captured graphs) goes
on holding them. Merging in low precision can't be undone by subtraction, so exchanging starts from a copy of the
base's own values. Knows no event loop: who calls `put` makes sure that nothing is being generated.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from inference import lora, model_files


class Live:
    """One loaded base model. `keep` makes exchanging possible, for a copy in main memory of what adapters touch."""

    def __init__(self, model: Any, *, base: Path, attached: bool, keep: bool, canary: Sequence[int]) -> None:
        """`canary`: a prompt's token ids. Raises ModelError when the base alone can't answer it."""
        self._model = model
        self._base = base
        self._keep = keep
        self.canary = tuple(canary)
        self._attention = model.config._attn_implementation
        self._pristine: dict[str, torch.Tensor] = {}
        self._written: set[str] = set()
        self._attached = attached
        self._before: lora.Prepared | None = None
        self.current: lora.Prepared | None = None
        self._plain = self._logits()
        if not torch.isfinite(self._plain).all():
            raise model_files.ModelError(f"{base}: its answer to the canary prompt has values that are not finite")

    def prepare(self, folder: Path) -> lora.Prepared:
        """Every check that needs no touching of the model. Blocks. Raises AdapterError."""
        return lora.prepare(folder, self._base)

    def put(self, prepared: lora.Prepared) -> None:
        """Put this one on instead of what is on. Raises AdapterError, and then the old one is on as before."""
        before = self.current
        try:
            self._exchange(prepared)
            self._judge(prepared)
        except Exception as error:
            if self._keep:
                self._exchange(before)
            if isinstance(error, model_files.AdapterError | torch.OutOfMemoryError):
                raise
            raise model_files.AdapterError(f"{prepared.folder} can't be put on the base: {error}") from error
        self._before, self.current = before, prepared

    def back(self) -> None:
        """Undo the last `put`."""
        self._exchange(self._before)
        self.current, self._before = self._before, None

    @torch.no_grad()
    def _exchange(self, prepared: lora.Prepared | None) -> None:
        self._detach()
        fresh = self._new_values(prepared) if prepared else iter(())
        stale, self._written = self._written, set()
        for name, value in fresh:
            self._remember(name)
            self._model.get_parameter(name).copy_(value)
            self._written.add(name)
        for name in stale - self._written:
            self._model.get_parameter(name).copy_(self._pristine[name])
        if prepared and self._attached:
            self._attach(prepared)

    def _new_values(self, prepared: lora.Prepared) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and value of the parameters that change, one module at a time."""
        yield from prepared.whole.items()
        if not self._attached:
            for name, layer in prepared.layers.items():
                try:
                    yield from self._merged(name, layer, whole=prepared.whole)
                except torch.OutOfMemoryError:
                    raise
                except (ValueError, RuntimeError) as error:
                    raise model_files.AdapterError(f"{prepared.folder}: {name}: can't be merged: {error}") from error

    def _merged(
        self, name: str, layer: Any, *, whole: Mapping[str, torch.Tensor]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """peft's own merging, on a copy of the layer around the base's own values."""
        carrier = copy.deepcopy(layer)
        inner = carrier.get_base_layer()
        for part, parameter in self._model.get_submodule(name).named_parameters():
            full = f"{name}.{part}"
            value = whole[full] if full in whole else self._pristine.get(full, parameter)
            setattr(inner, part, nn.Parameter(value.to(parameter), requires_grad=False))
        carrier.to(self._model.get_submodule(name).weight.device)
        carrier.merge(safe_merge=True)
        for part, parameter in inner.named_parameters():
            yield f"{name}.{part}", parameter

    def _remember(self, name: str) -> None:
        if self._keep and name not in self._pristine:
            self._pristine[name] = self._model.get_parameter(name).detach().to("cpu", copy=True)

    def _attach(self, prepared: lora.Prepared) -> None:
        around = peft.PeftModel(self._model, copy.deepcopy(prepared.config), autocast_adapter_dtype=False)
        peft.set_peft_model_state_dict(around, dict(prepared.tensors))
        around.eval()

    def _detach(self) -> None:
        """Take the adapter's layers out again, also when attaching them broke off halfway."""
        for name, module in list(self._model.named_modules()):
            if isinstance(module, LoraLayer):
                self._model.set_submodule(name, module.get_base_layer())
        vars(self._model).pop("peft_config", None)

    def _judge(self, prepared: lora.Prepared) -> None:
        """Raises AdapterError when the canary prompt is answered by nonsense, or as the base alone would."""
        logits = self._logits()
        if not torch.isfinite(logits).all():
            raise model_files.AdapterError(
                f"{prepared.folder}: with it the canary prompt is answered with values that are not finite"
            )
        if torch.equal(logits, self._plain):
            raise model_files.AdapterError(
                f"{prepared.folder}: it changes nothing: with it the canary prompt is answered exactly as without it;"
                " lora_alpha or the learning rate may have been far too small"
            )

    @torch.no_grad()
    def _logits(self) -> torch.Tensor:
        """What comes after the canary prompt, on the CPU."""
        with self._plain_attention():
            ids = torch.tensor([list(self.canary)], device=self._model.device)
            logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits.float().cpu()

    @contextlib.contextmanager
    def _plain_attention(self) -> Iterator[None]:
        """The batching engine may have switched the model to an attention that works on its cache only."""
        now = self._model.config._attn_implementation
        if now == self._attention:
            yield
            return
        self._model.set_attn_implementation(self._attention)
        try:
            yield
        finally:
            self._model.set_attn_implementation(now)


def main_check(folder: Path, base: Path | None = None, *, as_json: bool = False) -> int:
    """Print a verdict on the adapter in `folder`; without a base only what its files alone tell.

    Exit status: 0 it can be served, 1 it can't, 2 the base can't be read.
    """
    verdict: dict[str, Any] = {"ok": False, "adapter": str(folder)}
    try:
        facts = _facts(folder, base)
    except model_files.AdapterError as error:
        return _say({**verdict, "problem": error.problem}, as_json=as_json, code=1)
    except model_files.ModelError as error:
        return _say({**verdict, "problem": error.problem}, as_json=as_json, code=2)
    return _say({**verdict, **facts, "ok": True}, as_json=as_json, code=0)


def _facts(folder: Path, base: Path | None) -> dict[str, Any]:
    adapter = model_files.check_adapter(folder)
    facts: dict[str, Any] = {
        "trained_for": adapter.base or None,
        "tensors": len(adapter.shapes),
        "r": adapter.config.get("r"),
        "digest": model_files.digest(folder),
    }
    if base is None:
        lora.read(adapter)
        return {**facts, "base": None, "notes": ["not checked against a base model: name one with --base DIR"]}
    model_files.check_base(base)
    prepared = lora.prepare(folder, base)
    return {**facts, "base": str(base), "modules": len(prepared.layers), "notes": list(prepared.notes)}


def _say(verdict: dict[str, Any], *, as_json: bool, code: int) -> int:
    if as_json:
        print(json.dumps(verdict, indent=2))
        return code
    if not verdict["ok"]:
        print(f"not usable: {verdict['problem']}", file=sys.stderr)
        return code
    against = f"fits {verdict['base']}" if verdict["base"] else "its files are whole"
    print(f"ok: {verdict['adapter']} {against}")
    for name in ("trained_for", "tensors", "modules", "r", "digest"):
        if verdict.get(name) is not None:
            print(f"  {name.replace('_', ' '):<12} {verdict[name]}")
    for note in verdict["notes"]:
        print(f"  note: {note}")
    return code
