"""The models that are measured: the trained one, and random weights of Phi-3's shape. Torch is imported when called."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra import finetuning
from tests import trained as cached

VOCABULARY = 32064
"""Phi-3's: more than the tokenizer knows, as with the real one."""


def trained() -> Path:
    """The base model's folder; it is trained once into the user's cache."""
    return cached.folder() / finetuning.BASE


@contextlib.contextmanager
def random_weights(tokenizer_folder: Path) -> Iterator[Path]:
    """A folder with a model of Phi-3's shape, 162 M parameters in fp32, and the tokenizer of `tokenizer_folder`."""
    from transformers import AutoTokenizer, Phi3Config
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tok = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = Phi3Config(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        bos_token_id=tok.eos_token_id,
        eos_token_id=tok.eos_token_id,
        pad_token_id=tok.pad_token_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "random-160m"
        endless(config, words=_words(tok)).save_pretrained(place)
        tok.save_pretrained(place)
        yield place


def endless(config: Any, *, words: list[int], device: str = "cpu", dtype: Any = None) -> Any:
    """A model of `config` with random weights whose best token is always one of `words`: no answer ends by itself."""
    import torch
    from transformers import GenerationConfig, Phi3ForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        model: Any = Phi3ForCausalLM._from_config(config, dtype=dtype or torch.float32)  # type: ignore[no-untyped-call]
    head = model.lm_head.weight
    with torch.no_grad():
        # Rows of zeros score 0, and among so many random rows some score more.
        others = torch.ones(head.shape[0], dtype=torch.bool, device=head.device)
        others[torch.tensor(words, device=head.device)] = False
        head[others] = 0.0
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id, do_sample=False
    )
    return model.eval()


def _words(tok: Any) -> list[int]:
    """The ids of whole printable words: an answer of half characters would show nothing."""
    special = {token_id for token_id, token in tok.added_tokens_decoder.items() if token.special}
    texts = {token_id: tok.decode([token_id]) for token_id in range(len(tok)) if token_id not in special}
    return [token_id for token_id, text in texts.items() if text.strip().isalnum() and text.isascii()]
