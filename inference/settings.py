"""What the environment variables say, checked. Owns names, defaults and limits; must not import anything heavy.

All problems are reported at once. Keys are SecretStr from the moment they are read, and no message repeats them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

N = TypeVar("N", int, float)
DEFAULT_PORT = 7860
LOG_LEVELS = ("INFO", "DEBUG", "WARNING", "ERROR")


class SettingsError(Exception):
    """One message that names every variable with a problem."""


@dataclass(frozen=True)
class Settings:
    """Times are in seconds. None for a size means: computed from the model and the memory at hand."""

    base_model_dir: Path
    adapter_dir: Path | None
    base_only: bool
    """Wanted in so many words: a forgotten adapter must not look like one that changes nothing."""
    adapter_mode: str
    """`merged` into the base weights (faster), or `attached` beside them."""
    model_id: str
    """The name clients ask for. By default the base folder's name, which stays the same over adapter releases."""
    release: str | None
    dtype: str
    quantization: str
    """`none`, or `4bit` weights (GPU only)."""
    device: str
    attention: str
    max_inflight: int
    max_queue: int
    queue_timeout: float
    max_new_tokens: int
    max_context: int
    generation_timeout: float
    """An answer still running then ends as if out of tokens: ingresses cut longer requests without a word."""
    kv_page_size: int | None
    kv_blocks: int | None
    max_batch_tokens: int | None
    engine_restarts: int
    """Restarts of the engine allowed within ten minutes; past it /livez fails."""
    wedged_after: float
    api_keys: tuple[SecretStr, ...]
    admin_key: SecretStr | None
    """None: there is no admin endpoint."""
    canary_prompt: str
    """Asked of the model before it serves, and with and without the adapter: the answers must differ."""
    system_prompt: str
    """Put before a conversation that brings no system message; empty for none."""
    examples: tuple[str, ...]
    """Prompts offered on the page."""
    ui_enabled: bool
    root_path: str
    drain_delay: float
    """How long new answers are still taken after SIGTERM: the ingress learns late that this replica is going away."""
    grace: float
    """From SIGTERM to the end of the process, at most."""
    log_level: str


def port(env: Mapping[str, str]) -> int:
    """PORT, else the platform's CONTAINER_APP_PORT, else 7860. Raises SettingsError."""
    for name in ("PORT", "CONTAINER_APP_PORT"):
        if text := env.get(name, "").strip():
            if text.isdecimal() and 0 < int(text) < 65536:
                return int(text)
            raise SettingsError(f"{name} must be a port number, got {text!r}")
    return DEFAULT_PORT


def read(env: Mapping[str, str]) -> Settings:
    """The settings in `env`. Raises SettingsError."""
    reader = _Reader(env)
    base = reader.text("BASE_MODEL_DIR", "")
    if not base:
        reader.problems.append("BASE_MODEL_DIR must name the base model's folder")
    adapter = reader.text("ADAPTER_DIR", "")
    settings = Settings(
        base_model_dir=Path(base),
        adapter_dir=Path(adapter) if adapter else None,
        base_only=reader.flag("BASE_ONLY", default="0"),
        adapter_mode=reader.choice("ADAPTER_MODE", "merged", "attached"),
        model_id=reader.text("MODEL_ID", Path(base).name),
        release=reader.text("ACAOPS_RELEASE", "") or None,
        dtype=reader.choice("DTYPE", "auto", "float32", "bfloat16", "float16"),
        quantization=reader.choice("QUANTIZATION", "none", "4bit"),
        device=reader.choice("DEVICE", "auto", "cpu", "cuda"),
        attention=reader.text("ATTN", "sdpa"),
        max_inflight=reader.number("MAX_INFLIGHT", 16, kind=int),
        max_queue=reader.number("MAX_QUEUE", 64, kind=int, least=0),
        queue_timeout=reader.number("QUEUE_TIMEOUT_S", 10.0, kind=float),
        max_new_tokens=reader.number("MAX_NEW_TOKENS", 1024, kind=int),
        max_context=reader.number("MAX_CONTEXT", 4096, kind=int),
        generation_timeout=reader.number("GENERATION_TIMEOUT_S", 200.0, kind=float),
        kv_page_size=reader.optional("KV_PAGE_SIZE", least=4),
        kv_blocks=reader.optional("KV_BLOCKS", least=2),
        max_batch_tokens=reader.optional("MAX_BATCH_TOKENS", least=1),
        engine_restarts=reader.number("ENGINE_RESTARTS", 3, kind=int, least=0),
        wedged_after=reader.number("WEDGED_AFTER_S", 120.0, kind=float),
        api_keys=tuple(SecretStr(key) for key in reader.parts("API_KEYS", ",")),
        admin_key=SecretStr(admin) if (admin := reader.text("ADMIN_KEY", "")) else None,
        canary_prompt=reader.text("CANARY_PROMPT", "Hello"),
        system_prompt=reader.text("SYSTEM_PROMPT", ""),
        examples=tuple(reader.parts("EXAMPLE_PROMPTS", "\n")),
        ui_enabled=reader.flag("UI_ENABLED", default="1"),
        root_path=reader.text("ROOT_PATH", ""),
        drain_delay=reader.number("DRAIN_DELAY_S", 1.0, kind=float, least=0),
        grace=reader.number("GRACE_S", 20.0, kind=float),
        log_level=reader.choice("LOG_LEVEL", *LOG_LEVELS),
    )
    problems = [*reader.problems, *_contradictions(settings)]
    if problems:
        raise SettingsError("; ".join(problems))
    return settings


def _contradictions(settings: Settings) -> Iterator[str]:
    """What is wrong with values that are each right."""
    if settings.adapter_dir is None and not settings.base_only:
        yield "ADAPTER_DIR must name the adapter's folder; BASE_ONLY=1 serves the base model alone"
    if settings.adapter_dir is not None and settings.base_only:
        yield "ADAPTER_DIR and BASE_ONLY=1 contradict each other: unset one"
    if settings.quantization == "4bit" and settings.device == "cpu":
        yield "QUANTIZATION=4bit needs a GPU, and DEVICE is cpu"
    if settings.admin_key is not None and settings.admin_key in settings.api_keys:
        yield "ADMIN_KEY must not be one of API_KEYS"
    if settings.drain_delay >= settings.grace:
        yield "DRAIN_DELAY_S must be less than GRACE_S"


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._env.get(name, "").strip() or default

    def parts(self, name: str, separator: str) -> list[str]:
        return [part.strip() for part in self.text(name, "").split(separator) if part.strip()]

    def flag(self, name: str, *, default: str) -> bool:
        return self.choice(name, default, "1" if default == "0" else "0") == "1"

    def choice(self, name: str, default: str, *others: str) -> str:
        value = self.text(name, default)
        if value not in (default, *others):
            self.problems.append(f"{name} must be one of {', '.join((default, *others))}, got {value!r}")
        return value

    def number(self, name: str, default: N, *, kind: Callable[[str], N], least: float = 1) -> N:
        text = self.text(name, str(default))
        try:
            value = kind(text)
        except ValueError:
            self.problems.append(f"{name} must be a number, got {text!r}")
            return default
        if not least <= value < float("inf"):
            self.problems.append(f"{name} must be at least {least:g}, got {text}")
        return value

    def optional(self, name: str, *, least: int) -> int | None:
        return self.number(name, least, kind=int, least=least) if self.text(name, "") else None
