"""What the environment variables say, checked. Owns names, defaults and limits; must not import anything heavy.

All problems are reported at once. API keys are kept out of `repr`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)
DEFAULT_PORT = 7860


class SettingsError(Exception):
    """One message that names every variable with a problem."""


@dataclass(frozen=True)
class Settings:
    """Times are in seconds. None for a size means: computed from the model and the memory at hand."""

    base_model_dir: Path
    adapter_dir: Path | None
    adapter_mode: str
    """`merged` into the base weights (faster), or `attached` beside them."""
    model_id: str
    """The name clients ask for. By default the base folder's name, which stays the same over adapter releases."""
    release: str | None
    dtype: str
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
    api_keys: tuple[str, ...] = field(repr=False)
    ui_enabled: bool
    root_path: str
    drain_delay: float
    grace: float
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
        adapter_mode=reader.choice("ADAPTER_MODE", "merged", "attached"),
        model_id=reader.text("MODEL_ID", Path(base).name),
        release=reader.text("ACAOPS_RELEASE", "") or None,
        dtype=reader.choice("DTYPE", "auto", "float32", "bfloat16", "float16"),
        device=reader.choice("DEVICE", "auto", "cpu", "cuda"),
        attention=reader.text("ATTN", "sdpa"),
        max_inflight=reader.number("MAX_INFLIGHT", 16, kind=int),
        max_queue=reader.number("MAX_QUEUE", 64, kind=int, least=0),
        queue_timeout=reader.number("QUEUE_TIMEOUT_S", 20.0, kind=float),
        max_new_tokens=reader.number("MAX_NEW_TOKENS", 512, kind=int),
        max_context=reader.number("MAX_CONTEXT", 4096, kind=int),
        generation_timeout=reader.number("GENERATION_TIMEOUT_S", 200.0, kind=float),
        kv_page_size=reader.optional("KV_PAGE_SIZE", least=4),
        kv_blocks=reader.optional("KV_BLOCKS", least=2),
        max_batch_tokens=reader.optional("MAX_BATCH_TOKENS", least=1),
        engine_restarts=reader.number("ENGINE_RESTARTS", 3, kind=int, least=0),
        wedged_after=reader.number("WEDGED_AFTER_S", 120.0, kind=float),
        api_keys=tuple(key.strip() for key in reader.text("API_KEYS", "").split(",") if key.strip()),
        ui_enabled=reader.choice("UI_ENABLED", "1", "0") == "1",
        root_path=reader.text("ROOT_PATH", ""),
        drain_delay=reader.number("DRAIN_DELAY_S", 1.0, kind=float, least=0),
        grace=reader.number("GRACE_S", 20.0, kind=float),
        log_level=reader.choice("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR"),
    )
    if reader.problems:
        raise SettingsError("; ".join(reader.problems))
    return settings


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._env.get(name, "").strip() or default

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
