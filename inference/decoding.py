"""From token ids to text as they come. Never shows half a character, never a special token."""

from __future__ import annotations

from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """One answer's tokens, fed in order; `count` is how many so far."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._decoder = DecodeStream([], skip_special_tokens=True)
        self._ids: list[int] = []
        self._shown = 0
        self._complete = True

    @property
    def count(self) -> int:
        return len(self._ids)

    def feed(self, token: int) -> str:
        """The text that is certain now; empty while a character is incomplete."""
        self._ids.append(token)
        piece = self._decoder.step(self._backend, token)
        self._complete = piece is not None
        self._shown += len(piece or "")
        return piece or ""

    def flush(self) -> str:
        """Text held back behind an incomplete last character, without that."""
        if self._complete:
            return ""
        whole: str = self._backend.decode(self._ids, skip_special_tokens=True)
        return whole[self._shown :].rstrip("\ufffd")
