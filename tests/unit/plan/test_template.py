"""An InferenceApp rendered: template, release digest, configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from controller.model import content, desired, releases, tags
from controller.plan import bodies, machines, template
from tests.unit.plan import wanted

OWNER = tags.Owner("prod", "InferenceApp", "phi3-chat")
APP_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/phi3"


def rendered(app: desired.InferenceApp, **given: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "container": "phi3",
        "rule": "http",
        "share": "phi3share",
        "storage": "phi3mount",
        "owner": OWNER,
        "files": wanted.CONTENT,
        "stored": {"api-keys": "api-keys-01234567"},
        "resources": machines.resources(app, wanted.environment()),
    }
    body = template.template(app, **facts | given)
    name = template.release(app, body, digest=(facts | given)["files"].digest)
    return template.named(body, releases.Run(name))


def released(app: desired.InferenceApp, **given: Any) -> str:
    name = template.release_of(rendered(app, **given))
    assert name is not None
    return name


def test_a_template_says_all_the_spec_says() -> None:
    """One container on the share, named as AI Toolkit names things, and the release last in its env."""
    app = wanted.app(
        env=[{"name": "A", "value": "1"}, {"name": "KEYS", "secretRef": "api-keys"}],
        secrets=[{"name": "api-keys", "fromEnv": "API_KEYS"}],
        resources={"cpu": 8, "memory": "56Gi"},
        scale={"minReplicas": 0, "maxReplicas": 3, "concurrentRequests": 4},
        terminationGracePeriod="90s",
    )

    body = rendered(app)

    (container,) = body["containers"]
    assert container["env"] == [
        {"name": "A", "value": "1"},
        {"name": "KEYS", "secretRef": "api-keys-01234567"},
        {"name": "ACAOPS_RELEASE", "value": released(app)},
    ]
    assert container["resources"] == {"cpu": 8.0, "memory": "56Gi"}
    assert container["volumeMounts"] == [{"volumeName": "phi3sharevolume", "mountPath": "/mount", "subPath": None}]
    assert body["volumes"] == [{"name": "phi3sharevolume", "storageType": "AzureFile", "storageName": "phi3mount"}]
    assert body["scale"] == {
        "minReplicas": 0,
        "maxReplicas": 3,
        "rules": [{"name": "http", "http": {"metadata": {"concurrentRequests": "4"}}}],
    }
    assert body["terminationGracePeriodSeconds"] == 90
    assert "revisionSuffix" not in body


def test_what_is_kept_isn_t_said() -> None:
    """Live probes and scale rules that the app leaves alone: nothing of them is owned, or sent when it is created."""
    app = wanted.app(probes="Keep", scale={"concurrentRequests": None})
    body = rendered(app)
    (container,) = body["containers"]
    assert "probes" not in container
    assert body["scale"] == {"minReplicas": 1, "maxReplicas": 1}


@pytest.mark.parametrize(
    "spec",
    [
        {"image": "docker.io/other:1"},
        {"commands": ["python -m other"]},
        {"env": [{"name": "BASE_MODEL_DIR", "value": "/mount/other"}]},
        {
            "env": [{"name": "BASE_MODEL_DIR", "secretRef": "api-keys"}],
            "secrets": [{"name": "api-keys", "fromEnv": "K"}],
        },
        {"scale": {"maxReplicas": 2}},
        {"resources": {"cpu": 12, "memory": "220Gi"}},
        {"mountPath": "/data"},
        {"release": "Mirror"},
        {"startupBudget": "10m"},
        {"rollout": {"check": {}}},
        {"terminationGracePeriod": "10s"},
        {"ingress": {"targetPort": 8000}},
    ],
)
def test_what_runs_otherwise_is_another_release(spec: dict[str, Any]) -> None:
    """Every field that reaches the template."""
    assert released(wanted.app(**spec)) != released(wanted.app())


@pytest.mark.parametrize(
    "given",
    [
        {"files": content.Content((replace(wanted.FILE, sha256="6" * 64),), ("inference",))},
        {"files": content.Content((replace(wanted.FILE, executable=True),), ("inference",))},
        {"files": content.Content((), ())},
        {"storage": "phi3mount-0a1b2c3d"},
        {"container": "other"},
    ],
)
@pytest.mark.parametrize("way", ["Bundle", "Mirror"])
def test_other_content_or_storage_is_another_release(given: dict[str, Any], way: str) -> None:
    """In either way of publishing."""
    app = wanted.app(release=way)

    assert released(app, **given) != released(app)


@pytest.mark.parametrize(
    "spec",
    [
        {"interval": "1m", "retryInterval": "9s", "timeout": "1m"},
        {"tags": {"team": "chat"}},
        {"rollout": {"deadline": "5m"}},
        {"ingress": {"external": False}},
        {"secrets": [{"name": "unused", "fromEnv": "X"}]},
    ],
)
def test_what_runs_the_same_is_the_same_release(spec: dict[str, Any]) -> None:
    """Nothing that only acaops or the ingress reads loads a model anew."""
    assert released(wanted.app(**spec)) == released(wanted.app())


def test_a_release_is_stable() -> None:
    """Neither key order, nor where the files lie, nor the process counts; an upgrade of acaops rolls nothing."""
    moved = content.Content((replace(wanted.FILE, source=Path("/elsewhere"), size=6),), ("inference",))

    app = wanted.app()
    assert template.release(app, {"a": 1, "b": {"c": 2, "d": 3}}, digest="x") == "5e2de5eb93f89d8e"
    assert template.release(app, {"a": 1, "b": 2}, digest="x") == template.release(app, {"b": 2, "a": 1}, digest="x")
    assert released(wanted.app(), files=moved) == released(wanted.app())


@pytest.mark.parametrize(
    ("body", "release"),
    [
        ({}, None),
        ({"containers": None}, None),
        ({"containers": [{"name": "a", "env": None}]}, None),
        ({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}, None),
        ({"containers": [{"name": "s"}, {"name": "a", "env": [{"name": "ACAOPS_RELEASE", "value": "r"}]}]}, "r"),
    ],
)
def test_a_template_says_its_release(body: dict[str, Any], release: str | None) -> None:
    """Foreign ones don't."""
    assert template.release_of(body) == release


def test_a_secret_is_stored_under_a_name_of_its_value() -> None:
    """A new value is a new name; the same value elsewhere too, so that names tell nothing across apps."""
    one = template.secret_name("api-keys", SecretStr("one"), app_id=APP_ID)

    assert one == template.secret_name("api-keys", SecretStr("one"), app_id=APP_ID.lower())
    assert one.startswith("api-keys-")
    assert len(one) == len("api-keys-") + 8
    others = [
        template.secret_name("api-keys", SecretStr("two"), app_id=APP_ID),
        template.secret_name("api-keys", SecretStr("one"), app_id=f"{APP_ID}2"),
    ]
    assert one not in others


def test_the_configuration_holds_what_is_owned() -> None:
    """The ingress and how many old revisions are kept; secrets only where there are any. Mode and traffic are the
    rollout's."""
    app = wanted.app(ingress={"external": False, "targetPort": 8000})

    bare = template.configuration(app, secrets={}, app_id=APP_ID)
    kept = template.configuration(app, secrets={"a": SecretStr("x")}, app_id=APP_ID)

    assert bare == {"ingress": {"external": False, "targetPort": 8000}, "maxInactiveRevisions": 10}
    assert kept["secrets"] == [
        {"name": template.secret_name("a", SecretStr("x"), app_id=APP_ID), "value": SecretStr("x")}
    ]


def test_the_number_of_old_revisions_may_be_left_to_others() -> None:
    """null."""
    assert "maxInactiveRevisions" not in template.configuration(
        wanted.app(revisionHistory=None), secrets={}, app_id=APP_ID
    )


@pytest.mark.parametrize(
    ("spec", "sessions"),
    [
        ({}, "as it is"),
        ({"scale": {"maxReplicas": 2}}, {"affinity": "sticky"}),
        ({"ingress": {"sticky": True}}, {"affinity": "sticky"}),
        ({"scale": {"maxReplicas": 2}, "ingress": {"sticky": False}}, None),
        ({"rollout": {"strategy": "BlueGreen"}}, None),
    ],
)
def test_several_replicas_keep_their_clients(spec: dict[str, Any], sessions: object) -> None:
    """Unless the app keeps no sessions; Azure can't do it where two revisions run side by side."""
    made = template.configuration(wanted.app(**spec), secrets={}, app_id=APP_ID)
    assert made["ingress"].get("stickySessions", "as it is") == sessions


def test_the_applied_digest_follows_a_secrets_name_not_its_value() -> None:
    """It is stored in a tag, where no secret may be guessed from."""
    one = {"secrets": [{"name": "a-1", "value": SecretStr("x")}]}
    other = {"secrets": [{"name": "a-1", "value": SecretStr("y")}]}
    renamed = {"secrets": [{"name": "a-2", "value": SecretStr("x")}]}

    assert bodies.applied(one) == bodies.applied(other)
    assert bodies.applied(one) != bodies.applied(renamed)


def test_a_creation_asks_for_no_absence() -> None:
    """What an update must take away isn't mentioned where nothing is there yet."""
    body = rendered(wanted.app())
    whole = template.wanted(
        wanted.app(tags={"team": "chat"}),
        location="westus3",
        environment_id="/env",
        body=body,
        config={"ingress": {}},
        live=None,
    )

    sent = whole.create["properties"]["template"]["containers"][0]
    assert "httpGet" not in sent["probes"][0]
    assert sent["volumeMounts"] == [{"volumeName": "phi3sharevolume", "mountPath": "/mount"}]
    assert whole.create["properties"]["environmentId"] == "/env"
    assert whole.tags == {"team": "chat", tags.DELETION: "Delete"}


def test_where_things_lie_on_the_share() -> None:
    """All of an app's own below one folder, which names its inventory."""
    assert template.bundle_path(OWNER, "d") == ".acaops/prod/phi3-chat/releases/d.tar.gz"
    assert template.mirror_path(OWNER) == ".acaops/prod/phi3-chat/mirror.json"
    assert template.published((wanted.FILE,)) == {"inference/serve.py": "5" * 64}


# The model


MODEL = {"base": "models/phi", "adapter": "models/pirate"}
NAMED = [
    {"name": "BASE_MODEL_DIR", "value": "/mount/models/phi"},
    {"name": "ADAPTER_DIR", "value": "/mount/models/pirate"},
]


def test_without_a_model_an_app_keeps_its_release() -> None:
    """A new version of acaops must not make new releases of what is there."""
    assert released(wanted.app()) == "4332fe60397eeda9"
    assert released(wanted.app(env=[], release="Mirror", rollout={"check": {}})) == "4e66a93dc76b34b6"


def test_a_model_is_told_by_the_apps_env() -> None:
    """After the app's own, in the words it was told in by hand, so that the same release comes of both."""
    own = {"name": "MODE", "value": "chat"}
    app = wanted.app(env=[own], model=MODEL)
    assert rendered(app)["containers"][0]["env"][:-1] == [own, *NAMED]
    assert released(app) == released(wanted.app(env=[own, *NAMED]))
    (base, _), alone = NAMED, wanted.app(env=[], model={"base": "models/phi"}, mountPath="/data")
    env = rendered(alone)["containers"][0]["env"][:-1]
    assert env == [{**base, "value": "/data/models/phi"}, {"name": "BASE_ONLY", "value": "1"}]


def test_another_digest_is_another_release() -> None:
    """So weights that were replaced in place are loaded; the revision says itself what it must serve."""
    rollout = {"check": {}}
    apps = [
        wanted.app(env=[], model={**MODEL, **digests}, rollout=rollout)
        for digests in ({}, *({"adapterDigest": "sha256:" + digit * 64} for digit in "ab"))
    ]
    assert len({released(app) for app in apps}) == 3
    assert rendered(apps[1])["containers"][0]["env"][-2] == {
        "name": "ACAOPS_ADAPTER_DIGEST",
        "value": "sha256:" + "a" * 64,
    }
