"""What one document of the desired state may say, and how the rest is refused."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from controller.model import desired

ENVIRONMENT: dict[str, Any] = {
    "apiVersion": "acaops/v1",
    "kind": "Environment",
    "metadata": {"name": "gpu-west"},
    "spec": {"subscriptionId": "00000000-0000-0000-0000-00000000000A", "resourceGroup": "rg-phi3"},
}
APP: dict[str, Any] = {
    "apiVersion": "acaops/v1",
    "kind": "InferenceApp",
    "metadata": {"name": "phi3-chat"},
    "spec": {"environmentRef": "gpu-west", "image": "docker.io/library/python:3.11", "commands": ["python -m app"]},
}


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`base` with the value at the dotted `path` below spec set."""
    document = copy.deepcopy(base)
    *parents, last = path.split(".")
    node = document["spec"]
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return document


def refusals(base: dict[str, Any], path: str, value: Any) -> list[tuple[str, str]]:
    """(dotted place, message) of each refusal."""
    with pytest.raises(ValidationError) as caught:
        desired.KINDS[base["kind"]].model_validate(changed(base, path, value))
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def environment(**spec: Any) -> desired.Environment:
    return desired.Environment.model_validate(ENVIRONMENT | {"spec": ENVIRONMENT["spec"] | spec})


def app(**spec: Any) -> desired.InferenceApp:
    return desired.InferenceApp.model_validate(APP | {"spec": APP["spec"] | spec})


def test_an_environment_needs_little() -> None:
    """Subscription and resource group are enough; the rest has defaults; a GUID's case doesn't matter."""
    spec = environment().spec

    assert spec.subscription_id == "00000000-0000-0000-0000-00000000000a"
    assert (spec.location, spec.storage.share_quota_gib, spec.storage.sku) == (None, 1024, "Standard_LRS")
    assert (spec.container_apps.workload_profiles, spec.tags, spec.deletion_policy) == ((), {}, "Retain")


def test_an_app_needs_little() -> None:
    """Environment, image and commands are enough; the defaults are those of the documentation, in seconds."""
    spec = app().spec

    assert (spec.workload_profile_name, spec.resources) == ("GPU", None)
    assert (spec.startup_budget, spec.termination_grace_period, spec.rollout.deadline) == (1200, 60, 1800)
    assert (spec.interval, spec.retry_interval, spec.timeout) == (600, None, 300)
    assert (spec.release, spec.mount_path, spec.ingress.target_port, spec.rollout.check) == (
        "Bundle",
        "/mount",
        7860,
        None,
    )
    assert (spec.scale.min_replicas, spec.scale.max_replicas, spec.scale.concurrent_requests) == (1, 1, 10)


def test_what_is_read_is_what_is_written() -> None:
    """An object's own JSON reads back as the same object, durations included."""
    wanted = app(startupBudget="25m", rollout={"check": {"period": "250ms"}}, retryInterval="1m30s")

    written = wanted.model_dump(mode="json", by_alias=True)

    assert written["spec"]["rollout"]["check"]["period"] == "250ms"
    assert desired.InferenceApp.model_validate(written) == wanted


def test_objects_are_frozen() -> None:
    """Nobody changes the desired state after it was read."""
    with pytest.raises(ValidationError, match="frozen"):
        app().spec.image = "other"


def test_a_check_is_on_when_it_is_named() -> None:
    """An empty check takes its defaults."""
    check = app(rollout={"check": {}}).spec.rollout.check

    assert check is not None
    assert (check.path, check.successes, check.period) == ("/readyz", 3, 2.0)


def test_serverless_and_dedicated_profiles() -> None:
    """A dedicated type comes with counts, a serverless one without."""
    dedicated = {"name": "GPU", "type": "NC24-A100", "minimumCount": 0, "maximumCount": 2}
    serverless = {"name": "T4", "type": "Consumption-GPU-NC8as-T4"}
    plain = {"name": "Consumption", "type": "Consumption"}

    profiles = environment(containerApps={"workloadProfiles": [dedicated, serverless, plain]}).spec.container_apps

    assert [profile.serverless for profile in profiles.workload_profiles] == [False, True, True]


def test_an_environment_field_of_a_later_version_is_refused() -> None:
    """Never ignored: the message begins `not yet:` and says what."""
    path = "containerApps.subnetId"
    says = "not yet: a subnet isn't supported in this version"
    assert refusals(ENVIRONMENT, path, "/subscriptions/x") == [(f"spec.{path}", says)]


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("ingress.allow", ["10.0.0.0/8"], "an allow list of CIDRs"),
        ("probes", [{"type": "Startup"}], "probes of your own"),
    ],
)
def test_an_app_field_of_a_later_version_is_refused(path: str, value: Any, what: str) -> None:
    """Never ignored: the message begins `not yet:` and says what."""
    assert refusals(APP, path, value) == [(f"spec.{path}", f"not yet: {what} isn't supported in this version")]


def test_a_default_may_be_written_down() -> None:
    """It means what happens anyway."""
    defaults: dict[str, Any] = {
        "registries": [],
        "identity": {"type": "None", "userAssigned": []},
        "probes": None,
        "dependsOn": [],
        "drift": "Correct",
    }

    assert app(**defaults, suspend=None, ignore=[], mode="Manage", deletionPolicy="Delete").spec == app().spec
    assert environment(mode="Manage", deletionPolicy="Retain").spec == environment().spec


IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pull"
OTHER_IDENTITY = IDENTITY.replace("pull", "push")


def test_how_much_is_managed() -> None:
    """All of it can be turned down; an identity's types may stand as Azure answers them; a registry names one the app
    has, whatever the casing."""
    spec = app(
        drift="Report",
        mode="Observe",
        suspend={"reason": "load test", "until": "2026-11-22t19:00:00.5+01:00"},
        dependsOn=["embedder"],
        identity={"type": "SystemAssigned, UserAssigned", "userAssigned": [IDENTITY]},
        registries=[{"server": "a.azurecr.io", "identity": "system"}, {"server": "b", "identity": IDENTITY.lower()}],
        ignore=["/tags/team"],
    ).spec

    assert (spec.drift, spec.mode, spec.depends_on) == ("Report", "Observe", ("embedder",))
    assert (spec.identity.type, spec.identity.system) == ("SystemAssigned,UserAssigned", True)
    assert spec.suspend is not None
    assert spec.suspend.until == datetime(2026, 11, 22, 18, tzinfo=UTC)
    assert spec.ignored == (("tags", "team"),)
    written = desired.InferenceApp.model_validate(app(suspend={"reason": "x", "until": "2026-11-22T18:00:00Z"}))
    assert written.model_dump(mode="json", by_alias=True)["spec"]["suspend"]["until"] == "2026-11-22T18:00:00Z"


@pytest.mark.parametrize(
    ("until", "hour", "in_force"),
    [("2026-11-22T18:00:00Z", 17, True), ("2026-11-22T18:00:00Z", 18, False), (None, 23, True)],
)
def test_suspended_until(until: str | None, hour: int, in_force: bool) -> None:
    """Up to that moment; without one until the field is removed."""
    suspend = app(suspend={"reason": "load test", "until": until}).spec.suspend

    assert suspend is not None
    assert suspend.in_force(datetime(2026, 11, 22, hour, tzinfo=UTC)) is in_force


def test_live_probes_can_be_kept() -> None:
    """`Keep` and null are all there is; another word is no probe."""
    assert app(probes="Keep").spec.probes == "Keep"
    assert refusals(APP, "probes", "None") == [("spec.probes", "Input should be 'Keep'")]


def test_a_key_vault_secret_is_refused() -> None:
    """Both of its fields are of a later version."""
    secret = {"name": "k", "keyVaultUrl": "https://x", "identity": "system"}

    assert [message[:8] for _, message in refusals(APP, "secrets", [secret])] == ["not yet:", "not yet:"]


@pytest.mark.parametrize(
    ("path", "value", "place", "says"),
    [
        ("subscriptionId", "123", "subscriptionId", "a GUID"),
        ("resourceGroup", "rg.", "resourceGroup", "no dot at the end"),
        ("location", "West US 3", "location", "like westus3"),
        ("storage.accountName", "Phi3", "storage.accountName", "3 to 24 characters"),
        ("storage.accountName", "a" * 25, "storage.accountName", "3 to 24 characters"),
        ("storage.shareName", "a--b", "storage.shareName", "single inner hyphens"),
        ("storage.shareQuotaGiB", "1024", "storage.shareQuotaGiB", "valid integer"),
        ("storage.shareQuotaGiB", 0, "storage.shareQuotaGiB", "greater than or equal to 1"),
        ("storage.sku", "Basic", "storage.sku", "Standard_LRS"),
        ("logAnalytics.workspaceName", "abc", "logAnalytics.workspaceName", "4 to 63 characters"),
        ("containerApps.environmentName", "a" * 61, "containerApps.environmentName", "1 to 60 characters"),
        ("containerApps.storageName", "a" * 24, "containerApps.storageName", "1 to 23 characters"),
        ("deletionPolicy", "Keep", "deletionPolicy", "'Delete' or 'Retain'"),
        ("tags", {"acaops-x": "1"}, "tags.acaops-x", "reserved"),
        ("tags", {"a": "1", "A": "1"}, "tags.A", "the same name as 'a'"),
        ("tags", {"a": "x" * 257}, "tags.a", "256 characters"),
        ("tags", {"a/b": "x"}, "tags.a/b", "none of"),
        ("tags", {f"t{number}": "" for number in range(41)}, "tags", "41 tags: at most 40"),
        ("mode", "Watch", "mode", "'Manage'"),
        ("resourcegroup", "x", "resourcegroup", "Extra inputs"),
    ],
)
def test_an_environment_outside_of_azure_s_limits_is_refused(path: str, value: Any, place: str, says: str) -> None:
    """At load, at the value itself, saying what would be right."""
    ((where, message),) = refusals(ENVIRONMENT, path, value)

    assert where == f"spec.{place}"
    assert says in message


@pytest.mark.parametrize(
    ("profile", "place", "says"),
    [
        ({"name": "GPU", "type": "H100"}, ".type", "NC24-A100"),
        ({"name": "GPU", "type": "NC24-A100", "minimumCount": 0}, "", "maximumCount is required"),
        ({"name": "GPU", "type": "NC24-A100", "minimumCount": 2, "maximumCount": 1}, ".minimumCount", "more than"),
        ({"name": "T4", "type": "Consumption-GPU-NC8as-T4", "maximumCount": 1}, ".maximumCount", "takes no counts"),
        ({"name": "Consumption", "type": "Consumption-GPU-NC8as-T4"}, ".name", "no other, is named Consumption"),
    ],
)
def test_a_workload_profile_that_does_not_fit_is_refused(profile: dict[str, Any], place: str, says: str) -> None:
    """Counts belong to dedicated types, and only there."""
    ((where, message),) = refusals(ENVIRONMENT, "containerApps.workloadProfiles", [profile])

    assert where == f"spec.containerApps.workloadProfiles.0{place}"
    assert says in message


@pytest.mark.parametrize(
    ("path", "value", "place", "says"),
    [
        ("appName", "a" * 33, "appName", "2 to 32 characters"),
        ("appName", "9app", "appName", "a letter first"),
        ("image", "", "image", "an image reference"),
        ("commands", [], "commands", "at least 1 item"),
        ("commands", ["ls", " "], "commands.1", "not blank"),
        ("commands", "ls", "commands", "valid tuple"),
        ("mountPath", "mount", "mountPath", "absolute POSIX path"),
        ("mountPath", "/a/../b", "mountPath", "absolute POSIX path"),
        ("mountPath", "/", "mountPath", "absolute POSIX path"),
        ("content", [{"path": "/etc", "target": "x"}], "content.0.path", "relative to the YAML file"),
        ("content", [{"path": "x", "target": "../x"}], "content.0.target", "relative POSIX path"),
        ("content", [{"path": "x", "target": "/x"}], "content.0.target", "relative POSIX path"),
        ("content", [{"path": "x", "target": "a\\b"}], "content.0.target", "'\\\\'"),
        ("content", [{"path": "x", "target": ".acaops/x"}], "content.0.target", "reserved"),
        ("content", [{"path": "x", "target": "a"}, {"path": "y", "target": "A/b"}], "content.1.target", "lies in 'a'"),
        ("secrets", [{"name": "Key", "fromEnv": "K"}], "secrets.0.name", "lower-case"),
        ("secrets", [{"name": "k" * 55, "fromEnv": "K"}], "secrets.0.name", "1 to 54 characters"),
        ("secrets", [{"name": "k"}], "secrets.0", "exactly one of fromEnv and fromFile"),
        ("secrets", [{"name": "k", "fromEnv": "ACAOPS_GIT_TOKEN"}], "secrets.0.fromEnv", "the controller's own"),
        ("secrets", [{"name": "k", "fromEnv": "AZURE_CLIENT_SECRET"}], "secrets.0.fromEnv", "the controller's own"),
        ("secrets", [{"name": "k", "fromEnv": "IDENTITY_HEADER"}], "secrets.0.fromEnv", "the controller's own"),
        ("secrets", [{"name": "k", "fromEnv": "K", "fromFile": "f"}], "secrets.0", "exactly one"),
        ("secrets", [{"name": "k", "fromEnv": "K"}, {"name": "k", "fromEnv": "L"}], "secrets.1.name", "twice"),
        ("secrets", ["k"], "secrets.0", "valid dictionary"),
        ("env", [{"name": "A"}], "env.0", "exactly one of value and secretRef"),
        ("env", [{"name": "A", "value": 1}], "env.0.value", "valid string"),
        ("env", [{"name": "ACAOPS_X", "value": ""}], "env.0.name", "reserved"),
        ("env", [{"name": "A", "value": ""}, {"name": "A", "value": ""}], "env.1.name", "twice"),
        ("env", [{"name": "A", "secretRef": "k"}], "env.0.secretRef", "no secret is called 'k'"),
        ("resources", {"cpu": 0, "memory": "1Gi"}, "resources.cpu", "greater than 0"),
        ("resources", {"cpu": 1, "memory": "220GB"}, "resources.memory", "like 220Gi"),
        ("resources", {"cpu": 1, "memory": "0Gi"}, "resources.memory", "like 220Gi"),
        ("resources", {"cpu": 1}, "resources.memory", "required"),
        ("ingress.external", "yes", "ingress.external", "valid boolean"),
        ("ingress.targetPort", 70000, "ingress.targetPort", "65535"),
        ("startupBudget", "16h", "startupBudget", "longer than 15h57m, the most that the service"),
        ("startupBudget", 600, "startupBudget", "like 20m"),
        ("scale", {"minReplicas": 2}, "scale.maxReplicas", "is less than"),
        ("scale", {"minReplicas": 3, "maxReplicas": 2}, "scale.maxReplicas", "less than minReplicas 3"),
        ("scale.maxReplicas", 0, "scale.maxReplicas", "greater than or equal to 1"),
        ("terminationGracePeriod", "11m", "terminationGracePeriod", "longer than 10m"),
        ("terminationGracePeriod", "1500ms", "terminationGracePeriod", "whole seconds"),
        ("rollout.check", {"path": "readyz"}, "rollout.check.path", "begins with /"),
        ("interval", "0s", "interval", "longer than 0s"),
        ("interval", "10 minutes", "interval", "is no duration"),
        ("suspend", {}, "suspend.reason", "required"),
        ("suspend", {"reason": " "}, "suspend.reason", "one line of text"),
        ("suspend", {"reason": "a\nb"}, "suspend.reason", "one line of text"),
        ("suspend", {"reason": "x", "until": "2026-11-22"}, "suspend.until", "RFC 3339 with its zone"),
        ("suspend", {"reason": "x", "until": "2026-11-22T18:00:00"}, "suspend.until", "like 2026-11-22T18:00:00Z"),
        ("suspend", {"reason": "x", "until": "2026-02-30T18:00:00Z"}, "suspend.until", "is no time"),
        ("suspend", {"reason": "x", "until": 5}, "suspend.until", "is no time"),
        ("dependsOn", ["Other"], "dependsOn.0", "lower-case"),
        ("dependsOn", ["a", "a"], "dependsOn.1", "'a' is there twice"),
        ("identity", {"type": "UserAssigned"}, "identity", "needs userAssigned"),
        ("identity", {"userAssigned": [IDENTITY]}, "identity.userAssigned", "type is None"),
        (
            "identity",
            {"type": "UserAssigned", "userAssigned": [IDENTITY, IDENTITY.lower()]},
            "identity.userAssigned.1",
            "twice",
        ),
        (
            "identity",
            {"type": "UserAssigned", "userAssigned": ["pull"]},
            "identity.userAssigned.0",
            "the resource id of",
        ),
        ("identity.type", 1, "identity.type", "'SystemAssigned'"),
        ("registries", [{"server": "https://x", "identity": IDENTITY}], "registries.0.server", "a host, like"),
        ("registries", [{"server": "x", "identity": "system"}], "registries.0.identity", "needs SystemAssigned"),
        (
            "registries",
            [{"server": "x", "identity": IDENTITY}],
            "registries.0.identity",
            "isn't in identity.userAssigned",
        ),
        ("ignore", ["/tags/acaops-owner"], "ignore.0", "acaops itself depends on it"),
        ("ignore", ["/properties/template/containers/0/env/0"], "ignore.0", "env has 0 entries: name the variable"),
    ],
)
def test_an_app_outside_of_the_limits_is_refused(path: str, value: Any, place: str, says: str) -> None:
    """At load, at the value itself, saying what would be right."""
    ((where, message),) = refusals(APP, path, value)

    assert where == f"spec.{place}"
    assert says in message


def test_a_literal_secret_is_refused_with_the_remedy() -> None:
    """The message names fromEnv and fromFile and repeats nothing of the value."""
    with pytest.raises(ValidationError) as caught:
        app(secrets=[{"name": "k", "value": "hunter2"}])

    assert "fromEnv or fromFile" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_env_entry_may_name_a_declared_secret() -> None:
    """Where the secrets are invalid themselves, references to them aren't judged."""
    secret = {"name": "api-keys", "fromEnv": "API_KEYS"}
    reference = [{"name": "API_KEYS", "secretRef": "api-keys"}]

    assert app(secrets=[secret], env=reference).spec.env[0].secret_ref == "api-keys"
    assert refusals(APP | {"spec": APP["spec"] | {"env": reference}}, "secrets", [{"name": "api-keys"}]) == [
        ("spec.secrets.0", "secret 'api-keys' needs exactly one of fromEnv and fromFile")
    ]


def test_all_problems_are_told_at_once() -> None:
    """One wrong field doesn't hide another."""
    with pytest.raises(ValidationError) as caught:
        app(image="", scale={"minReplicas": 2}, mode="Watch", unknown=1)

    assert caught.value.error_count() == 4


def test_registries_are_named_once() -> None:
    """The server is the entry's name, without case."""
    twice = [{"server": "x.azurecr.io", "identity": "system"}, {"server": "X.azurecr.io", "identity": "system"}]
    base = APP | {"spec": APP["spec"] | {"identity": {"type": "SystemAssigned"}}}

    assert refusals(base, "registries", twice) == [
        ("spec.registries.1.server", "registry 'X.azurecr.io' is there twice"),
    ]


def test_what_follows_the_variables_in_env_is_acaops_own() -> None:
    """A position counts what the YAML has; what lies deeper or beside it isn't a variable."""
    base = APP | {"spec": APP["spec"] | {"env": [{"name": "A", "value": "1"}]}}
    env = "/properties/template/containers/0/env"
    allowed = [f"{env}/0", f"{env}/B", "/properties/template/containers/0/image", "/properties/template/scale"]

    assert [message for _, message in refusals(base, "ignore", [*allowed, f"{env}/1"])] == [
        "env has 1 entries: name the variable, or a position below 1"
    ]
