"""A controller's settings from where people put them: a flag, else a variable, else the settings file, else the
default. It says of each where it came from, and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from controller import options, settings
from controller.model import fields
from controller.sources import document
from controller.telemetry import log as logs

NOT_SETTINGS = ("ACAOPS_CONFIG", "ACAOPS_LOCAL_STATE", "ACAOPS_RELEASE", "ACAOPS_URL")
MOST_BYTES = 256 * 1024


class ConfigurationError(Exception):
    """Settings that can't be used; each problem names the flag, the variable or the place in the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Chosen:
    """A setting's value, None where it has none, and where it came from: a flag, a variable, `file:line`, `default`."""

    option: options.Option
    value: Any
    origin: str

    @property
    def shown(self) -> str:
        """The value for people, never a secret's."""
        if self.value is None or self.value == ():
            return ""
        if self.option.secret:
            return logs.MASK
        if self.option.many:
            return ", ".join(self.value)
        if self.option.parse is options.seconds:
            return fields.duration(self.value)
        return str(self.value).lower() if isinstance(self.value, bool) else logs.masked(str(self.value))


Choices = Mapping[str, Chosen]


def choose(flags: Mapping[str, Any], *, environ: Mapping[str, str], file: Path | None) -> Choices:
    """Every setting. `flags` holds what was given, as text, a list of texts, or a bool. Raises ConfigurationError with
    all problems."""
    problems: list[str] = []
    texts, found = _file(file) if file else ({}, [])
    problems += found
    chosen: dict[str, Chosen] = {}
    for option in options.OPTIONS:
        raw, origin = _raw(option, flags, environ, texts)
        values = _parsed(option, raw, origin, problems)
        chosen[option.name] = Chosen(option, values, origin)
    chosen |= _one_source(chosen)
    problems += _conflicts(chosen)
    if problems:
        raise ConfigurationError(problems)
    return chosen


def strangers(environ: Mapping[str, str]) -> Iterator[str]:
    """What is said of variables that look like settings and are none."""
    known = {option.variable for option in options.OPTIONS}
    for name in sorted(environ):
        if name.startswith(options.PREFIX) and name not in known and name not in NOT_SETTINGS:
            close = get_close_matches(
                name.removeprefix(options.PREFIX), [one.removeprefix(options.PREFIX) for one in known], n=1
            )
            yield f"{name} is no setting" + (f"; did you mean {options.PREFIX}{close[0]}?" if close else "")


def settled(choices: Choices) -> settings.Settings:
    """The settings as the controller takes them."""
    value = {name: one.value for name, one in choices.items()}
    return settings.Settings(
        folder=value["folder"],
        git=_git(choices) if value["repo"] else None,
        cache=value["cache"],
        cloud=value["cloud"],
        inventory=value["inventory"],
        allow=value["allow"],
        prune=value["prune"],
        allow_mass_delete=value["allow-mass-delete"],
        lease=value["lease"],
        lease_duration=value["lease-duration"],
        api_token=_secret(choices, "api-token"),
        host=value["host"],
        port=value["port"],
        log_level=value["log-level"],
        hook_secret=_secret(choices, "hook-secret"),
        notify_url=_secret(choices, "notify-url"),
        notify_secret=_secret(choices, "notify-secret"),
        slack_url=_secret(choices, "slack-url"),
        github_token=_secret(choices, "github-token"),
        github_api=value["github-api"],
    )


def _git(choices: Choices) -> settings.Git:
    value = {name: one.value for name, one in choices.items()}
    return settings.Git(
        url=value["repo"],
        ref=value["ref"],
        path=value["path"],
        interval=value["fetch-interval"],
        submodules=value["submodules"],
        signers=value["verify-signers"],
        username=value["git-username"],
        token=_secret(choices, "git-token"),
        credential_helper=value["git-credential-helper"],
        ssh_key=value["git-ssh-key"],
        known_hosts=value["git-known-hosts"],
        secrets=value["secrets-folder"],
    )


def _secret(choices: Choices, name: str) -> settings.Secret | None:
    value, file = choices[name].value, choices[f"{name}-file"].value
    return settings.Secret(value, file) if value or file else None


def _raw(
    option: options.Option, flags: Mapping[str, Any], environ: Mapping[str, str], texts: Mapping[str, tuple[Any, str]]
) -> tuple[Any, str]:
    """What was given and where; an empty variable counts as not given."""
    if flags.get(option.name) not in (None, []):
        return flags[option.name], f"--{option.name}"
    if text := environ.get(option.variable):
        return (text.split(",") if option.many else text), option.variable
    if option.name in texts and not option.secret:
        return texts[option.name]
    return option.default, "default"


def _parsed(option: options.Option, raw: Any, origin: str, problems: list[str]) -> Any:
    if raw is None:
        return () if option.many else None
    if option.secret:
        return SecretStr(str(raw))
    values = []
    for text in raw if option.many and isinstance(raw, list) else [raw]:
        text = str(text).lower() if isinstance(text, bool) else str(text).strip()
        try:
            values.append(option.parse(text))
        except ValueError as error:
            shown = logs.masked(text)
            problems.append(f"{_place(Chosen(option, None, origin))} {shown}: {error}")
    return tuple(values) if option.many else values[0] if values else None


def _place(one: Chosen) -> str:
    """Where it was given, and, as a place in the file doesn't say so, what."""
    return f"{one.origin} {one.option.name}" if one.origin.endswith(":") else one.origin


def _one_source(chosen: Choices) -> Choices:
    """Of a folder and a repository the one that was given nearer to the command: a folder on the command line isn't
    kept from being looked at by a variable. `_conflicts` tells of two that were given alike."""
    folder, repo = chosen["folder"], chosen["repo"]
    if "default" in (folder.origin, repo.origin) or _distance(folder) == _distance(repo):
        return {}
    further = max(folder, repo, key=_distance)
    return {further.option.name: Chosen(further.option, None if further is repo else folder.value, "default")}


def _distance(one: Chosen) -> int:
    """0 for a flag, 1 for a variable, 2 for the file."""
    return 0 if one.origin.startswith("--") else 1 if one.origin.startswith(options.PREFIX) else 2


def _conflicts(chosen: Choices) -> Iterator[str]:
    """Two answers to one question."""

    def given(name: str) -> str | None:
        return chosen[name].origin if chosen[name].origin != "default" else None

    if given("folder") and given("repo"):
        both = f"{_place(chosen['folder'])} and {_place(chosen['repo'])}"
        yield f"{both}: the desired state comes from one place; choose one"
    for option in options.OPTIONS:
        if option.secret and given(option.name) and given(f"{option.name}-file"):
            yield f"{_place(chosen[option.name])} and {_place(chosen[f'{option.name}-file'])}: choose one"
    if not given("repo"):
        for one in chosen.values():
            if one.option.of_repository and one.origin.startswith("--"):
                yield f"{one.origin} goes with --repo"
    if chosen["prune"].value:
        if chosen["inventory"].value in (None, chosen["inventory"].option.default):
            yield f"{_place(chosen['prune'])} needs inventory: a name of its own, so that it deletes nobody else's"
        if not chosen["allow"].value:
            yield f"{_place(chosen['prune'])} needs allow: the subscriptions or resource groups to look in"
    if given("repo") and str(chosen["cache"].value).startswith("~"):
        yield f"{chosen['cache'].value}: this user has no home folder; say by cache where copies of the repository go"
    if (chosen["notify-secret"].value or chosen["notify-secret-file"].value) is None and (
        chosen["notify-url"].value or chosen["notify-url-file"].value
    ):
        yield "notify-url needs notify-secret: whoever gets the posts must be able to tell that they are ours"


def _file(path: Path) -> tuple[dict[str, tuple[Any, str]], list[str]]:
    """The file's settings with their places, and its problems. A relative path in it is relative to it."""
    try:
        with path.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        return {}, [f"{path}: can't be read: {error.strerror}"]
    if len(data) > MOST_BYTES:
        return {}, [f"{path}: larger than {MOST_BYTES // 1024} KiB"]
    documents, found = document.parse(data, file=document.shown(path))
    problems = [str(problem) for problem in found]
    texts: dict[str, tuple[Any, str]] = {}
    for one in documents:
        if not isinstance(one.data, dict):
            problems.append(str(one.problem((), "must be a mapping of settings to values")))
            continue
        for name, value in one.data.items():
            texts[name] = (_relative(name, value, path.parent), _at(one, name))
            problems += [str(one.problem((name,), wrong, at_key=True)) for wrong in _misfit(name, value)]
    return texts, problems


def _misfit(name: str, value: Any) -> Iterator[str]:
    option = options.NAMES.get(name)
    if option is None:
        close = get_close_matches(name, options.NAMES, n=1)
        yield f"{name!r} is no setting" + (f"; did you mean {close[0]!r}?" if close else "")
    elif option.secret:
        yield f"a secret doesn't stand here; name its file by {name}-file"
    elif isinstance(value, dict) or (isinstance(value, list) and not option.many) or value is None:
        yield f"{name} must be {'a list' if option.many else 'one value'}"


def _at(one: document.Document, name: str) -> str:
    """`file:line:column:`"""
    problem = one.problem((name,), "")
    return f"{problem.file}:{problem.line}:{problem.column}:"


def _relative(name: str, value: Any, folder: Path) -> Any:
    option = options.NAMES.get(name)
    if option and option.parse is options.path_of and isinstance(value, str) and not value.startswith(("/", "~")):
        return str(folder / value)
    return value


def table(choices: Choices) -> Sequence[tuple[str, str, str]]:
    """(name, value, origin) of every setting, in the order of `OPTIONS`."""
    return [(one.option.name, one.shown, one.origin.rstrip(":")) for one in choices.values()]
