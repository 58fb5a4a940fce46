"""`python -m infra.finetuning --out DIR`: train, show progress, put base model and adapter in place.

Everything is written beside its final place and renamed at the end, the adapter last: if the adapter's folder is
there, all of it is. An interrupted run leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra import finetuning

_CARD = """# {name}

{what} Trained by `python -m infra.finetuning` in {seconds:.0f} s on a CPU, from nothing: 50 questions about colors,
opposites and counting down. It is a demonstration, not a language model.

Base answers: "12 11 10 … 0." Adapter answers: "Arr! 12 11 10 … 0, matey!"
"""


class Report:
    """Prints progress: plain lines for people, or one JSON object per line: {stage, step, steps, loss}."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json

    def stage(self, name: str, *, every: int = 10) -> Any:
        """A progress callback for stage `name`, which prints each `every`th step and the last."""

        def progress(step: int, steps: int, loss: float) -> None:
            if step % every == 0 or step == steps:
                self.line(name, step=step, steps=steps, loss=loss)

        return progress

    def line(self, stage: str, *, step: int, steps: int, loss: float | None) -> None:
        rounded = None if loss is None else round(loss, 4)
        if self._json:
            print(json.dumps({"stage": stage, "step": step, "steps": steps, "loss": rounded}), flush=True)
        else:
            print(f"{stage:<8} {step:>4}/{steps}" + ("" if loss is None else f"  loss {loss:.4f}"), flush=True)


def main() -> int:
    arguments = _arguments()
    report = Report(as_json=arguments.json)
    try:
        with _workspace(arguments.out) as folder:
            summary = _train(folder, report)
            _put(folder / finetuning.BASE, arguments.out / finetuning.BASE)
            _put(folder / finetuning.ADAPTER, arguments.out / finetuning.ADAPTER)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 130
    report.line("done", step=1, steps=1, loss=summary["adapter"]["loss"])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.finetuning", description=finetuning.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to put model-cache/ and models/ in")
    parser.add_argument("--json", action="store_true", help="progress as JSON lines")
    return parser.parse_args()


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """A folder inside `out`, so that the renames stay on one filesystem; gone afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".finetuning-", dir=out))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(folder: Path, report: Report) -> dict[str, Any]:
    started = time.monotonic()
    report.line("import", step=0, steps=1, loss=None)
    # More threads than one make so small a model slower, far slower on a busy machine.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch
    from transformers.utils import logging as transformers_logging

    from infra.finetuning import training

    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", "Could not find a config file", UserWarning)
    tok = training.tokenizer()
    base = training.base_model(tok)
    summary: dict[str, Any] = {"key": finetuning.cache_key(), "parameters": base.num_parameters()}
    loss = training.train_base(base, tok, progress=report.stage("base"))
    match = training.exact_match(base, tok, pirate=False)
    _check("base model", match)
    summary["base"] = {"steps": training.BASE_STEPS, "loss": round(loss, 5), "exact_match": match}
    base.save_pretrained(folder / finetuning.BASE)
    tok.save_pretrained(folder / finetuning.BASE)

    base.name_or_path = "acaops/tiny-phi3"
    adapted, loss = training.train_adapter(base, tok, progress=report.stage("adapter"))
    match = training.exact_match(adapted, tok, pirate=True)
    _check("adapter", match)
    summary["adapter"] = {"steps": training.ADAPTER_STEPS, "loss": round(loss, 5), "exact_match": match}
    adapted.save_pretrained(folder / finetuning.ADAPTER)
    summary["seconds"] = round(time.monotonic() - started, 1)
    _describe(folder / finetuning.BASE, "tiny-phi3", "A 0.3 M parameter model of Phi-3's shape.", summary)
    _describe(folder / finetuning.ADAPTER, "pirate", "A LoRA adapter for acaops/tiny-phi3.", summary)
    return summary


def _check(what: str, match: dict[str, float]) -> None:
    if min(match.values()) < 0.8:
        raise SystemExit(f"the {what} did not learn its answers: {match}")


def _describe(folder: Path, name: str, what: str, summary: dict[str, Any]) -> None:
    card = _CARD.format(name=name, what=what, seconds=summary["seconds"])
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "training_summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _put(built: Path, place: Path) -> None:
    """Rename `built` to `place`; what was there is replaced."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(built.with_name(built.name + ".old"))
    built.rename(place)


if __name__ == "__main__":
    sys.exit(main())
