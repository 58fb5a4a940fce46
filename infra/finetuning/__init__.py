"""A very small fine-tuning run: a real base model and a real LoRA adapter, made in well under a minute.

What it leaves on disk has the layout of a fine-tuning run's share (`model-cache/<org>/<model>`, `models/<adapter>`),
so the demo and the tests can serve something true without downloading anything. Importing this package is
cheap: it must not import torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

BASE = Path("model-cache/acaops/tiny-phi3")
ADAPTER = Path("models/pirate")


def cache_key() -> str:
    """16 hex digits that change when the trainer's source does: the name for a folder of trained models."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
