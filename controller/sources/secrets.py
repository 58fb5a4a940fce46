"""The values of an app's secrets, read from where the desired state says. Values never reach a message."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import SecretStr

from controller.model import desired
from controller.sources import manifest

MOST_BYTES = 64 * 1024


class SecretError(Exception):
    """Every secret that has no value, and the variable or file it should come from."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def resolve(secrets: Iterable[desired.Secret], *, folder: Path, environ: Mapping[str, str]) -> Mapping[str, SecretStr]:
    """The value of each secret by its name. `fromFile` is relative to `folder`. Raises SecretError."""
    values: dict[str, SecretStr] = {}
    problems: list[str] = []
    for secret in secrets:
        try:
            values[secret.name] = _value(secret, folder=folder, environ=environ)
        except SecretError as error:
            problems += error.problems
    if problems:
        raise SecretError(problems)
    return values


def resolve_all(loaded: manifest.LoadedApp) -> Mapping[str, SecretStr]:
    """`resolve` for one app as it was loaded, from this process's environment."""
    return resolve(loaded.object.spec.secrets, folder=loaded.folder, environ=os.environ)


def _value(secret: desired.Secret, *, folder: Path, environ: Mapping[str, str]) -> SecretStr:
    text: str | None
    if secret.from_file is not None:
        place = folder / secret.from_file
        where, text = f"the file {place}", _read(secret.name, place)
    else:
        where, text = f"the environment variable {secret.from_env}", environ.get(secret.from_env or "")
    if text is None:
        raise SecretError([f"secret {secret.name}: {where} isn't set"])
    if not text:
        raise SecretError([f"secret {secret.name}: {where} is empty"])
    return SecretStr(text)


def _read(name: str, place: Path) -> str:
    """The file's text without the one newline that editors put at its end."""
    try:
        if not place.is_file():
            raise SecretError([f"secret {name}: there is no file {place}"])
        with place.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise SecretError([f"secret {name}: the file {place} can't be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SecretError([f"secret {name}: the file {place} isn't UTF-8"]) from None
    if len(data) > MOST_BYTES:
        raise SecretError([f"secret {name}: the file {place} is larger than {MOST_BYTES // 1024} KiB"])
    return text.removesuffix("\n").removesuffix("\r")
