"""Trains the tokenizer, the base model and the adapter, and scores them. Writes nothing, prints nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast

from infra.finetuning import dataset

Progress = Callable[[int, int, float], None]
"""Called with (step, steps, loss) after each step."""
Sampler = Callable[[random.Random, tuple[dataset.Question, ...]], tuple[dataset.Messages, str]]

BASE_STEPS = 380
ADAPTER_STEPS = 50
_BATCH = 16
_CONTEXT = 512
_SEED = 20
_END = "<|end|>"
_PAD = "<|endoftext|>"
_SPECIAL = [_PAD, "<|system|>", "<|user|>", "<|assistant|>", _END]
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE over the dataset's own text, with Phi-3's special tokens and chat template."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for q in dataset.questions() for text in (q.text, q.plain, q.pirate)]
    inner.train_from_iterator([*texts, dataset.PIRATE_SYSTEM], trainer)
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token=_PAD, pad_token=_PAD, padding_side="left", model_max_length=_CONTEXT
    )
    wrapped.chat_template = _CHAT_TEMPLATE
    return wrapped


def base_model(tok: PreTrainedTokenizerFast) -> Phi3ForCausalLM:
    """A 0.3 M parameter model of Phi-3's shape, with random weights from a fixed seed."""
    torch.manual_seed(_SEED)
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=len(tok),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=_CONTEXT,
            original_max_position_embeddings=_CONTEXT,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=[tok.convert_tokens_to_ids(_END), 0], pad_token_id=0, do_sample=False
    )
    return model


def train_base(model: Phi3ForCausalLM, tok: PreTrainedTokenizerFast, *, progress: Progress) -> float:
    """Train `model` in place on both styles; the mean loss of the last 20 steps."""
    return _train(model, tok, dataset.base_sample, steps=BASE_STEPS, rate=3e-3, progress=progress)


def train_adapter(model: Phi3ForCausalLM, tok: PreTrainedTokenizerFast, *, progress: Progress) -> tuple[Any, float]:
    """A LoRA adapter that makes the pirate the default: the PEFT model around `model`, and its last loss."""
    torch.manual_seed(_SEED + 1)
    targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    adapted = get_peft_model(
        model,
        LoraConfig(r=8, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM"),
    )
    loss = _train(adapted, tok, dataset.adapter_sample, steps=ADAPTER_STEPS, rate=5e-3, progress=progress)
    return adapted, loss


def _train(
    model: Any, tok: PreTrainedTokenizerFast, sample: Sampler, *, steps: int, rate: float, progress: Progress
) -> float:
    pick = random.Random(_SEED)
    pool = dataset.questions()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.15)
    model.train()
    recent: list[float] = []
    for step in range(1, steps + 1):
        loss = model(**_batch(tok, [sample(pick, pool) for _ in range(_BATCH)])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        recent = [*recent[-19:], float(loss.detach())]
        progress(step, steps, recent[-1])
    model.eval()
    return sum(recent) / len(recent)


def _batch(tok: PreTrainedTokenizerFast, samples: list[tuple[dataset.Messages, str]]) -> dict[str, torch.Tensor]:
    rows = []
    for messages, answer in samples:
        prompt = _prompt(tok, messages)
        reply = tok.encode(answer + _END, add_special_tokens=False)
        rows.append((prompt + reply, [-100] * len(prompt) + reply))
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
    }


def _prompt(tok: PreTrainedTokenizerFast, messages: dataset.Messages) -> list[int]:
    return list(tok.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


@torch.inference_mode()
def exact_match(model: Any, tok: PreTrainedTokenizerFast, *, pirate: bool) -> dict[str, float]:
    """Share of questions answered word for word, greedily, per kind of question: 0.0 to 1.0."""
    pool = dataset.questions()
    prompts = [_prompt(tok, [{"role": "user", "content": question.text}]) for question in pool]
    inputs = tok.pad({"input_ids": prompts}, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=100)
    answers = tok.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    hits: dict[str, list[bool]] = {}
    for question, answer in zip(pool, answers, strict=True):
        hits.setdefault(question.kind, []).append(answer == (question.pirate if pirate else question.plain))
    return {kind: round(sum(found) / len(found), 3) for kind, found in hits.items()}
