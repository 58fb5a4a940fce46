"""Where a setting's value comes from, and what is said of one that can't be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller import configuration, settings

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


def chosen(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> configuration.Choices:
    return configuration.choose(flags or {}, environ=environ or {}, file=file)


def refused(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> tuple[str, ...]:
    with pytest.raises(configuration.ConfigurationError) as caught:
        chosen(flags, environ, file)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acaops.yaml"
    path.write_text("port: 1\nhost: 0.0.0.0\nfetch-interval: 5m\nallow:\n  - " + SUBSCRIPTION + "\n")
    return path


def test_flag_before_variable_before_file_before_default(file: Path) -> None:
    """Each setting names the place that won."""
    made = chosen({"port": "3"}, {"ACAOPS_PORT": "2", "ACAOPS_HOST": "::1", "ACAOPS_INVENTORY": ""}, file)

    told = {name: (one.value, one.origin.rstrip(":")) for name, one in made.items()}
    assert told["port"] == (3, "--port")
    assert told["host"] == ("::1", "ACAOPS_HOST")
    assert told["fetch-interval"] == (300.0, f"{file}:3:17")
    assert told["allow"] == ((SUBSCRIPTION,), f"{file}:5:3")
    assert told["inventory"] == ("default", "default")


def test_the_settings_that_the_controller_takes() -> None:
    """A repository where one is named, else the folder; secrets by value or by file."""
    environ = {
        "ACAOPS_REPO": "https://git.example/state",
        "ACAOPS_GIT_TOKEN": "hunter2",
        "ACAOPS_HOOK_SECRET_FILE": "/run/hook",
        "ACAOPS_SUBMODULES": "true",
        "ACAOPS_ALLOW": f"{SUBSCRIPTION},{SUBSCRIPTION}/rg",
        "ACAOPS_PATH": "./deploy/state/",
    }
    made = configuration.settled(chosen({}, environ))

    assert made.git is not None
    assert (made.git.url, made.git.ref, made.git.path) == ("https://git.example/state", "main", "deploy/state")
    assert made.git.submodules
    assert made.git.token is not None
    assert made.git.token.read().get_secret_value() == "hunter2"
    assert made.hook_secret == settings.Secret(file=Path("/run/hook"))
    assert made.allow == (SUBSCRIPTION, f"{SUBSCRIPTION}/rg")
    assert configuration.settled(chosen({"folder": "x"})).git is None


def test_of_a_folder_and_a_repository_the_nearer_one_counts(file: Path) -> None:
    """The flag goes before the variable, and that before the file; alike, they are a conflict."""
    file.write_text("folder: state\n")
    repo = {"ACAOPS_REPO": "https://git.example/state"}
    assert configuration.settled(chosen({"folder": "here"}, repo)).git is None
    assert configuration.settled(chosen({}, repo, file)).git is not None
    assert configuration.settled(chosen({"repo": "/r"}, {"ACAOPS_FOLDER": "x"})).git is not None
    told = refused({}, {**repo, "ACAOPS_FOLDER": "x"})
    assert told == ("ACAOPS_FOLDER and ACAOPS_REPO: the desired state comes from one place; choose one",)


def test_a_path_in_the_file_is_relative_to_it(file: Path) -> None:
    file.write_text("repo: ssh://git@git.example/state\ngit-ssh-key: keys/deploy\n")
    assert configuration.settled(chosen(file=file)).git.ssh_key == file.parent / "keys" / "deploy"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flags", "environ", "told"),
    [
        ({"port": "70000"}, {}, "--port 70000: must be 0 to 65535"),
        ({}, {"ACAOPS_PORT": "many"}, "ACAOPS_PORT many: must be 0 to 65535"),
        (
            {"inventory": "../x"},
            {},
            "--inventory ../x: must be lower-case letters, digits and inner hyphens, at most 63",
        ),
        ({"allow": ["rg"]}, {}, "--allow rg: must be SUBSCRIPTION or SUBSCRIPTION/GROUP, the subscription by its id"),
        ({"allow": [""]}, {}, "--allow : must be SUBSCRIPTION or SUBSCRIPTION/GROUP, the subscription by its id"),
        ({}, {"ACAOPS_LOG_LEVEL": "loud"}, "ACAOPS_LOG_LEVEL loud: must be one of debug, info, warning, error"),
        ({"fetch-interval": "10ms", "repo": "/r"}, {}, "--fetch-interval 10ms: must be 1s or more"),
        ({"path": "../x", "repo": "/r"}, {}, "--path ../x: must be a folder inside the repository, without '..'"),
        ({}, {"ACAOPS_SUBMODULES": "maybe"}, "ACAOPS_SUBMODULES maybe: must be true or false"),
        ({"folder": "a", "repo": "/r"}, {}, "--folder and --repo: the desired state comes from one place; choose one"),
        ({"ref": "main"}, {}, "--ref goes with --repo"),
        (
            {},
            {"ACAOPS_HOOK_SECRET": "a", "ACAOPS_HOOK_SECRET_FILE": "/b"},
            "ACAOPS_HOOK_SECRET and ACAOPS_HOOK_SECRET_FILE: choose one",
        ),
        (
            {},
            {"ACAOPS_NOTIFY_URL": "https://x"},
            "notify-url needs notify-secret: whoever gets the posts must be able to tell that they are ours",
        ),
    ],
)
def test_a_value_that_cant_be_used(flags: dict[str, Any], environ: dict[str, str], told: str) -> None:
    """The flag or variable, the value, and what it must be."""
    assert refused(flags, environ) == (told,)


def test_cleartext_and_passwords_in_addresses_are_refused() -> None:
    """Tokens are never sent in the clear, and arguments are seen by everybody."""
    (cloud,) = refused({"cloud": "http://management.azure.com"})
    assert "must be an address that begins with https://" in cloud
    (repo,) = refused({"repo": "https://me:hunter2@git.example/state"})
    assert repo.startswith("--repo ")
    assert "hunter2" not in repo


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with a user of its own: it matters only to a repository's copies, and that is said."""

    def nobody(_: int) -> None:
        raise KeyError("no such user")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert configuration.settled(chosen({"folder": "state"})).git is None
    (told,) = refused({"repo": "https://git.example/state"})
    assert told.startswith("~/.cache/acaops: this user has no home folder")
    assert configuration.settled(chosen({"repo": "https://git.example/state", "cache": "/cache"})).git is not None


def test_every_problem_of_the_file_has_its_place(file: Path) -> None:
    """An unknown key, a secret, a value of the wrong form, one out of range: all at once."""
    file.write_text("prot: 1\nhook-secret: x\nhost: [a]\nport: 99999\nallow:\n")
    assert refused(file=file) == (
        f"{file}:1:1: 'prot' is no setting; did you mean 'port'?",
        f"{file}:2:1: a secret doesn't stand here; name its file by hook-secret-file",
        f"{file}:3:1: host must be one value",
        f"{file}:5:1: allow must be a list",
        f"{file}:4:7: port 99999: must be 0 to 65535",
    )


@pytest.mark.parametrize(("text", "told"), [("- a\n", "must be a mapping"), ("a: [\n", ":2:1: ")])
def test_a_file_that_is_no_mapping(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    assert told in refused(file=file)[0]


def test_a_file_that_cant_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert refused(file=missing) == (f"{missing}: can't be read: No such file or directory",)


def test_secrets_are_never_shown() -> None:
    """Neither in the table nor in the choices' own words."""
    made = chosen({}, {"ACAOPS_HOOK_SECRET": "hunter2", "ACAOPS_SLACK_URL_FILE": "/run/slack"})
    rows = {name: (value, origin) for name, value, origin in configuration.table(made)}
    assert rows["hook-secret"] == ("**********", "ACAOPS_HOOK_SECRET")
    assert rows["slack-url-file"] == ("/run/slack", "ACAOPS_SLACK_URL_FILE")
    assert rows["fetch-interval"] == ("1m", "default")
    assert "hunter2" not in repr(made)


def test_variables_that_are_no_settings_are_named() -> None:
    """A typo must not pass for a setting that was made."""
    found = list(
        configuration.strangers({"ACAOPS_INVENTRY": "x", "ACAOPS_CONFIG": "y", "PATH": "z", "ACAOPS_ZZZZ": ""})
    )
    assert found == ["ACAOPS_INVENTRY is no setting; did you mean ACAOPS_INVENTORY?", "ACAOPS_ZZZZ is no setting"]


def test_a_secret_in_a_file_is_read_anew(tmp_path: Path) -> None:
    """Without the newline at its end; what is wrong names the file."""
    path = tmp_path / "token"
    secret = settings.Secret(file=path)
    for text in ("one\n", "two"):
        path.write_text(text)
        assert secret.read().get_secret_value() == text.strip()
    for data, told in ((b"\n", "is empty"), (b"\xff", "isn't UTF-8"), (b"x" * 70_000, "too large")):
        path.write_bytes(data)
        with pytest.raises(settings.SecretError, match=told):
            secret.read()
    path.unlink()
    with pytest.raises(settings.SecretError, match=f"{path} can't be read: No such file"):
        secret.read()
