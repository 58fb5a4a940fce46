"""The steps for an InferenceApp: content before the app, only what differs, nothing of others lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.model import content, desired, observed, outcome, tags
from controller.model.conditions import Reason
from controller.model.kinds import Kind
from controller.plan import actions, planner, render, template, workload
from tests.unit.plan import wanted

SECRET = [{"name": "api-keys", "fromEnv": "API_KEYS"}]
KEYED = {"secrets": SECRET, "env": [{"name": "KEYS", "secretRef": "api-keys"}]}
OTHER = content.Content((replace(wanted.FILE, sha256="6" * 64),), ("inference",))


def steps(app: desired.InferenceApp, seen: observed.Workload, **given: Any) -> tuple[actions.Step, actions.Step]:
    publish, made = wanted.plan_app(app, seen, **given).steps
    assert (publish.kind, made.kind) == (Kind.CONTENT, Kind.APP)
    return publish, made


def update(
    app: desired.InferenceApp, live: observed.Resource, *, made: workload.Release | None = None, **facts: Any
) -> actions.Action:
    """The one action that is ready: the app's."""
    publish, step = steps(app, wanted.workload_of(live, **facts), made=made)
    assert publish.action is None
    assert step.ready is not None
    return step.ready


def container(body: Any) -> dict[str, Any]:
    (one,) = body["properties"]["template"]["containers"]
    return dict(one)


# Twice is once


@pytest.mark.parametrize(
    ("spec", "secrets"),
    [
        ({}, {}),
        (KEYED, {"api-keys": "hunter2"}),
        ({"resources": {"cpu": 0.5, "memory": "1.0Gi"}, "workloadProfileName": "Consumption"}, {}),
        ({"scale": {"minReplicas": 0, "maxReplicas": 10}}, {}),
        ({"rollout": {"check": {}}, "startupBudget": "1s"}, {}),
        ({"ingress": {"external": False, "targetPort": 8000}, "terminationGracePeriod": "0s"}, {}),
        ({"env": [{"name": "EMPTY", "value": ""}, {"name": "A", "value": "1"}]}, {}),
        ({"env": []}, {}),
        ({"release": "Mirror", "tags": {"team": "chat"}}, {}),
    ],
)
def test_what_was_made_needs_no_second_write(spec: dict[str, Any], secrets: dict[str, str]) -> None:
    """On the service's own answer to what was sent, after a Create and after any Update."""
    app, made = wanted.app(**spec), wanted.release(secrets)

    live = wanted.created(app, made=made)

    assert [step.action for step in steps(app, wanted.workload_of(live), made=made)] == [None, None]


@pytest.mark.parametrize(
    ("mangled", "value"),
    [
        ("minReplicas", None),
        ("terminationGracePeriodSeconds", 60),
    ],
)
def test_a_dropped_zero_is_no_change(mangled: str, value: Any) -> None:
    """The service may keep a default as null."""
    app = wanted.app(scale={"minReplicas": 0})
    live = wanted.created(app)
    body = {"scale": {"minReplicas": None}, mangled: value}

    assert steps(app, wanted.workload_of(wanted.with_properties(live, template=body)))[1].action is None


def test_a_revision_by_the_revisions_spelling() -> None:
    """What a revision says of its template: no ephemeral storage, cpu with zeros, an empty list for no probes."""
    app = wanted.app()
    live = wanted.created(app)

    assert template.release_of(wanted.revision(live, "phi3--1").properties["template"]) is not None


# What differs


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"image": "docker.io/other:1"}, {"template"}),
        ({"workloadProfileName": "T4", "resources": {"cpu": 24, "memory": "220Gi"}}, {"workloadProfileName"}),
        ({"workloadProfileName": "Consumption"}, {"workloadProfileName", "template"}),
        ({"ingress": {"external": False}}, {"configuration"}),
        ({"ingress": {"targetPort": 8000}}, {"configuration", "template"}),
        ({"tags": {"team": "chat"}}, set()),
    ],
)
def test_only_the_parts_that_differ_are_sent(spec: dict[str, Any], parts: set[str]) -> None:
    """And every tag with them, because nobody says whether tags merge."""
    live = wanted.with_tags(wanted.created(wanted.app()), by_hand="stays")

    action = update(wanted.app(**spec), live)

    assert action.reason == "changed"
    assert set(action.body.get("properties", {})) == parts
    assert action.body["tags"].items() >= {"by-hand": "stays", tags.OWNER: "prod/InferenceApp/phi3-chat"}.items()
    assert set(action.body) == {"tags", "properties"} if parts else {"tags"}


def test_a_changed_port_is_one_member_of_the_ingress() -> None:
    """Of an object only what differs, so that what others set meanwhile stays."""
    body = update(wanted.app(ingress={"targetPort": 8000}), wanted.created(wanted.app())).body

    assert body["properties"]["configuration"] == {"ingress": {"targetPort": 8000}}


def test_a_changed_variable_sends_the_containers_alone() -> None:
    """Arrays whole, without what the service computes; the revision suffix cleared, volumes and scale untouched."""
    live = wanted.created(wanted.app())
    adopted = wanted.with_properties(live, template={"revisionSuffix": "v2"})

    action = update(wanted.app(env=[{"name": "NEW", "value": "1"}]), adopted)

    assert set(action.body["properties"]["template"]) == {"containers", "revisionSuffix"}
    assert action.body["properties"]["template"]["revisionSuffix"] is None
    sent = container(action.body)
    assert [one["name"] for one in sent["env"]] == ["NEW", "ACAOPS_RELEASE"]
    assert sent["resources"] == {"cpu": 24.0, "memory": "220Gi"}
    assert "imageType" not in sent
    assert {change.path.split("env")[-1] for change in action.changes} == {
        "[BASE_MODEL_DIR]",
        "[NEW]",
        "[ACAOPS_RELEASE]",
    }


def test_a_check_turns_the_readiness_probe() -> None:
    """From asking the port to asking a path: a probe that did both would be refused."""
    body = update(wanted.app(rollout={"check": {}}), wanted.created(wanted.app())).body

    readiness = container(body)["probes"][1]
    assert ("tcpSocket" in readiness, readiness["httpGet"]["path"]) == (False, "/readyz")


@pytest.mark.parametrize(
    ("live_tags", "reason"),
    [({}, "drift"), ({"acaops_applied": "0" * 16}, "changed"), ({"acaops_applied": None}, "changed")],
)
def test_drift_is_told_from_a_change(live_tags: dict[str, str | None], reason: str) -> None:
    """A difference while the digest last applied is still the wanted one was made by somebody else."""
    drifted = wanted.with_properties(wanted.created(wanted.app()), configuration={"ingress": {"external": False}})

    action = update(wanted.app(), wanted.with_tags(drifted, **live_tags))

    assert action.reason == reason
    assert action.changes == (actions.Change("properties.configuration.ingress.external", False, True),)


def test_the_commit_causes_no_write() -> None:
    """It rides along with the next one."""
    live = wanted.created(wanted.app())
    later = planner.Scope("prod", commit="fedcba9")

    quiet = wanted.plan_app(wanted.app(), wanted.workload_of(live), scope=later)
    busy = wanted.plan_app(wanted.app(image="b"), wanted.workload_of(live), scope=later).steps[1].action

    assert live.tags[tags.COMMIT] == "0123abc"
    assert not quiet.pending
    assert busy is not None
    assert busy.body["tags"][tags.COMMIT] == "fedcba9"


@pytest.mark.parametrize(
    ("revision", "noted"),
    [({"healthState": "Healthy"}, True), ({"healthState": "None"}, False), ({"template": None}, False), (None, False)],
)
def test_the_release_that_was_healthy_is_noted(revision: dict[str, Any] | None, noted: bool) -> None:
    """At the moment of the change that may turn out worse, as far as its revision says."""
    live = wanted.with_properties(wanted.created(wanted.app()), latestRevisionName="phi3--1")
    listed = () if revision is None else (wanted.revision(live, "phi3--1", **revision),)
    scope = planner.Scope("prod")

    seen = wanted.workload_of(live, revisions=listed)
    action = wanted.plan_app(wanted.app(image="b"), seen, scope=scope).steps[1].action

    assert action is not None
    assert (tags.HEALTHY in action.body["tags"]) is noted


def test_the_deletion_policy_is_on_record() -> None:
    """For when the YAML is gone."""
    live = wanted.created(wanted.app())

    assert live.tags[tags.DELETION] == "Delete"
    action = update(wanted.app(deletionPolicy="Retain"), live)
    assert action.changes == (actions.Change("tags.acaops-deletion", "Delete", "Retain"),)


# What belongs to others


def adopted(**template_parts: Any) -> observed.Resource:
    """An app somebody made by hand: in the wanted environment, on the wanted profile."""
    live = wanted.with_properties(wanted.created(wanted.app()), template=template_parts)
    return wanted.with_tags(live, **dict.fromkeys(name.replace("-", "_") for name in live.tags))


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "old", "resources": {"cpu": 1.0, "memory": "2Gi", "ephemeralStorage": "4Gi"}} | more


RELEASED = {"env": [{"name": "ACAOPS_RELEASE", "value": "r"}]}


@pytest.mark.parametrize(
    ("there", "ours"),
    [
        ([named("hand-made")], "hand-made"),
        ([named("side"), named("PHI3")], "PHI3"),
        ([named("phi3"), named("mine", **RELEASED)], "mine"),
        ([named("mine", **RELEASED), named("side")], "mine"),
        ([named("one"), named("two")], "phi3"),
        ([], "phi3"),
    ],
)
def test_the_container_that_is_ours(there: list[dict[str, Any]], ours: str) -> None:
    """The one that runs a release; else the one named as the app; else the only one. The others stay."""
    action = update(wanted.app(), adopted(containers=there))

    sent = {one["name"]: one for one in action.body["properties"]["template"]["containers"]}
    assert list(sent) == list(dict.fromkeys([*(one["name"] for one in there), ours]))
    assert sent[ours]["image"] == "docker.io/pytorch/pytorch:2.9.0"
    assert all(one["image"] == "old" for name, one in sent.items() if name != ours)
    assert action.reason == "adopted"
    assert action.body["tags"][tags.ORIGIN] == tags.ADOPTED


def test_adopting_loses_nothing() -> None:
    """Sidecars, init containers, volumes with their options, mounts, scale rules, unowned fields: all stay or aren't
    sent at all; foreign variables of our container go."""
    action = update(
        wanted.app(),
        adopted(
            containers=[
                named(
                    "hand",
                    args=["--x"],
                    env=[{"name": "FOREIGN", "value": "1"}],
                    volumeMounts=[
                        {"volumeName": "cache", "mountPath": "/cache"},
                        {"volumeName": "old", "mountPath": "/mount", "subPath": "sub"},
                    ],
                ),
                named("side"),
            ],
            initContainers=[named("init")],
            volumes=[{"name": "cache", "storageType": "EmptyDir"}],
            scale={
                "rules": [
                    {"name": "by-hand", "http": {"metadata": {"concurrentRequests": "3"}}},
                    {"name": "cron", "custom": {}},
                ]
            },
        ),
    )

    sent = action.body["properties"]["template"]
    assert set(sent) == {"containers", "volumes", "scale", "revisionSuffix"}
    assert [one["name"] for one in sent["containers"]] == ["hand", "side", "phi3"]
    assert sent["containers"][0]["env"] == [{"name": "FOREIGN", "value": "1"}]
    assert [one["name"] for one in sent["volumes"]] == ["cache", "phi3sharevolume"]
    assert [one["name"] for one in sent["scale"]["rules"]] == ["by-hand", "cron"]
    assert sent["scale"]["rules"][0]["http"]["metadata"] == {"concurrentRequests": "10"}


def test_the_adopted_container_becomes_ours_but_for_what_isnt_named() -> None:
    """One container of another name keeps the name, its arguments and its other mounts."""
    mounts = [
        {"volumeName": "cache", "mountPath": "/cache"},
        {"volumeName": "old", "mountPath": "/mount", "subPath": "sub"},
    ]
    live = adopted(
        containers=[named("hand", args=["--x"], env=[{"name": "FOREIGN", "value": "1"}], volumeMounts=mounts)]
    )

    sent = container(update(wanted.app(), live).body)

    assert (sent["name"], sent["args"]) == ("hand", ["--x"])
    assert [one["name"] for one in sent["env"]] == ["BASE_MODEL_DIR", "ACAOPS_RELEASE"]
    assert sent["volumeMounts"] == [
        {"volumeName": "cache", "mountPath": "/cache"},
        {"volumeName": "phi3sharevolume", "mountPath": "/mount"},
    ]


def test_a_foreign_scale_rule_beside_ours_changes_nothing() -> None:
    """Somebody's second HTTP rule loads no model anew."""
    live = wanted.created(wanted.app())
    mine = live.properties["template"]["scale"]["rules"]
    both = [{"name": "by-hand", "http": {"metadata": {"concurrentRequests": "3"}}}, *mine]

    step = steps(wanted.app(), wanted.workload_of(wanted.with_properties(live, template={"scale": {"rules": both}})))[1]

    assert step.action is None


def test_an_adopted_app_is_quiet_from_then_on() -> None:
    """What the update sent, laid over what was there, needs no second one."""
    live = adopted(containers=[named("hand", args=["--x"]), named("phi3")], revisionSuffix="v1")
    body = update(wanted.app(), live).body

    after = wanted.with_properties(live, **body["properties"])
    after = observed.Resource({**after.body, "tags": body["tags"]})

    assert steps(wanted.app(), wanted.workload_of(after))[1].action is None


def test_tags_in_another_casing_are_the_same_tags() -> None:
    """Azure looks at tag names without case."""
    live = wanted.created(wanted.app(tags={"team": "chat"}))
    cased = observed.Resource({**live.body, "tags": {name.title(): value for name, value in live.tags.items()}})

    assert steps(wanted.app(tags={"team": "chat"}), wanted.workload_of(cased))[1].action is None
    changed = update(wanted.app(tags={"team": "code"}), cased)
    assert changed.body["tags"]["Team"] == "code"
    assert len({name.lower() for name in changed.body["tags"]}) == len(changed.body["tags"])


# What can't be written


def test_anothers_app_is_not_touched() -> None:
    """Neither the app nor the content that goes with it."""
    theirs = wanted.with_tags(wanted.created(wanted.app()), acaops_owner="theirs/InferenceApp/phi3-chat")
    seen = wanted.workload_of(theirs, published=observed.Published())

    plan = wanted.plan_app(wanted.app(image="b"), seen, made=wanted.release(files=OTHER))

    assert plan.pending
    assert plan.ready == ()
    assert [step.blocked.reason for step in plan.steps if isinstance(step.blocked, outcome.Stalled)] == [
        Reason.OWNED_BY_OTHER
    ] * 2


def test_another_environment_stops_the_app() -> None:
    """It can't move; both are named."""
    live = wanted.with_properties(wanted.created(wanted.app()), environmentId="/elsewhere")

    step = steps(wanted.app(), wanted.workload_of(live))[1]

    assert isinstance(step.blocked, outcome.Stalled)
    assert step.blocked.reason == Reason.IMMUTABLE_FIELD
    assert "'/elsewhere'" in step.blocked.message
    assert wanted.ids().environment in step.blocked.message


def test_an_id_is_the_same_in_any_casing() -> None:
    """Azure spells parts of it anew."""
    live = wanted.with_properties(wanted.created(wanted.app()), environmentId=wanted.ids().environment.upper())

    assert (
        wanted.plan_app(wanted.app(), wanted.workload_of(live)).steps[1]
        == steps(wanted.app(), wanted.workload_of(wanted.created(wanted.app())))[1]
    )


def test_an_operation_in_flight_holds_the_update() -> None:
    """The next pass sees its end."""
    busy = wanted.with_properties(wanted.created(wanted.app()), provisioningState="InProgress")

    step = steps(wanted.app(image="b"), wanted.workload_of(busy))[1]

    assert isinstance(step.blocked, outcome.InProgress)
    assert step.action is not None


@pytest.mark.parametrize(("written", "since"), [("2026-11-20T08:15:20Z", " since 2026-11-20T08:15:20Z"), (None, "")])
def test_a_newer_state_waits_for_an_operations_end(written: str | None, since: str) -> None:
    """Eagerly, and says since when there is something to wait for; without one nobody hurries."""
    made = wanted.created(wanted.app())
    busy = wanted.with_properties(made, provisioningState="InProgress")
    busy = observed.Resource({**busy.body, "systemData": {"lastModifiedAt": written} if written else {}})
    blocked = steps(wanted.app(image="b"), wanted.workload_of(busy))[1].blocked
    assert isinstance(blocked, outcome.InProgress)
    assert (blocked.reason, blocked.awaited) == (Reason.OPERATION_IN_PROGRESS, True)
    assert blocked.message == f"containerApp {made.name} is InProgress{since}; what is newer waits for its end"
    unhurried = steps(wanted.app(), wanted.workload_of(busy))[1].blocked
    assert isinstance(unhurried, outcome.InProgress)
    assert not unhurried.awaited


def test_out_of_bounds_nothing_is_written() -> None:
    """The guard list is the environment's group."""
    plan = wanted.plan_app(wanted.app(), observed.Workload(wanted.stack()), scope=planner.Scope("prod", ("elsewhere",)))

    assert plan.ready == ()
    assert isinstance(plan.steps[0].blocked, outcome.Stalled)


@pytest.mark.parametrize(("part", "waits_for"), [("environment", "environment"), ("storage", "environment storage")])
def test_an_app_waits_for_what_it_stands_on(part: str, waits_for: str) -> None:
    """Its content doesn't: it goes up meanwhile."""
    seen = observed.Workload(replace(wanted.stack(), **{part: None}), published=observed.Published())

    publish, made = steps(wanted.app(), seen)

    assert publish.ready is not None
    assert made.blocked == outcome.Waiting(Reason.DEPENDENCY_NOT_READY, f"waiting for the {waits_for}")


def test_the_app_follows_its_storage() -> None:
    """A rotated key is a new storage, hence a new revision."""
    stack = wanted.stack()
    assert stack.account is not None
    account = wanted.with_tags(stack.account, acaops_storage_key="phi3mount-cccccccc:cccccccc33333333")
    rotated = replace(stack, account=account, keys=("cccccccc33333333",))

    body = update(wanted.app(), wanted.created(wanted.app()), seen=rotated).body

    assert body["properties"]["template"]["volumes"][0]["storageName"] == "phi3mount-cccccccc"
    assert "containers" in body["properties"]["template"]


# Secrets


def names(action: actions.Action) -> dict[str, Any]:
    return {one["name"]: one for one in action.body["properties"]["configuration"]["secrets"]}


def stored(value: str) -> str:
    return template.secret_name("api-keys", wanted.release({"x": value}).secrets["x"], app_id=wanted.ids().app("phi3"))


def test_a_new_value_is_a_new_secret_beside_the_old_one() -> None:
    """The old one's value comes from the service itself; a revision that names it gets it back."""
    app, old = wanted.app(**KEYED), wanted.release({"api-keys": "old"})
    live = wanted.created(app, made=old)

    action = update(app, live, made=wanted.release({"api-keys": "new"}))

    sent = names(action)
    assert list(sent) == [stored("old"), stored("new")]
    assert sent[stored("old")]["value"] == actions.Lookup("app-secret", live.id, stored("old"))
    assert sent[stored("new")]["value"].get_secret_value() == "new"
    assert set(action.body["properties"]) == {"configuration", "template"}


def test_secrets_are_sent_only_when_one_is_missing() -> None:
    """A change of the ingress reads and sends none."""
    app, made = wanted.app(**KEYED), wanted.release({"api-keys": "old"})

    body = update(wanted.app(**KEYED, ingress={"external": False}), wanted.created(app, made=made), made=made).body

    assert body["properties"]["configuration"] == {"ingress": {"external": False}}


def test_foreign_secrets_stay() -> None:
    """Plain ones by what the service holds, key vault references as they are, also where the answer spells nulls."""
    vault = {"name": "vault", "keyVaultUrl": "https://v/secrets/s", "identity": "system"}
    live = wanted.with_properties(
        wanted.created(wanted.app()),
        configuration={"secrets": [{"name": "plain", "keyVaultUrl": None, "identity": None}, vault]},
    )

    sent = names(update(wanted.app(**KEYED), live, made=wanted.release({"api-keys": "new"})))

    assert sent["vault"] == vault
    assert sent["plain"]["value"] == actions.Lookup("app-secret", live.id, "plain")
    assert list(sent) == ["plain", "vault", stored("new")]


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        ({}, False),
        ({"revisions": "old"}, True),
        ({"registry": "api-keys-00000001"}, True),
    ],
)
def test_an_old_value_goes_when_nothing_names_it(facts: dict[str, str], kept: bool) -> None:
    """No listed revision, not the template, no registry; and only along with a write of secrets."""
    app, old = wanted.app(**KEYED), wanted.release({"api-keys": "old"})
    live = wanted.created(app, made=old)
    held = [{"name": "api-keys-00000001"}, {"name": stored("old")}, {"name": "api-keys-by-hand"}]
    registries = [{"server": "r", "passwordSecretRef": facts["registry"]}] if "registry" in facts else None
    live = wanted.with_properties(live, configuration={"secrets": held, "registries": registries})
    env = [{"name": "KEYS", "secretRef": "api-keys-00000001"}]
    listed = (wanted.revision(live, "phi3--1", template={"containers": [{"name": "phi3", "env": env}]}),)

    action = update(
        app, live, made=wanted.release({"api-keys": "new"}), revisions=listed if "revisions" in facts else ()
    )

    assert ("api-keys-00000001" in names(action)) is kept
    assert {stored("old"), stored("new"), "api-keys-by-hand"} <= names(action).keys()


def test_no_plan_shows_a_secret() -> None:
    """In changes, lines, JSON and repr, when it is created and when it changes."""
    app, old = wanted.app(**KEYED), wanted.release({"api-keys": "hunter1"})
    live = wanted.created(app, made=old)
    empty = observed.Workload(wanted.stack(), published=observed.Published(release=True))

    for plan in (
        wanted.plan_app(app, empty, made=old),
        wanted.plan_app(app, wanted.workload_of(live), made=wanted.release({"api-keys": "hunter2"})),
    ):
        assert plan.ready
        told = [*render.lines("phi3-chat", plan), json.dumps(render.as_json(plan)), repr(plan)]
        assert not any("hunter" in text for text in told)


# Content


def test_a_bundle_goes_up_before_the_app() -> None:
    """Under its digest; the app waits until it is there in full."""
    seen = observed.Workload(wanted.stack(), published=observed.Published(release=False))

    publish, made = steps(wanted.app(), seen)

    digest = wanted.CONTENT.digest
    assert publish.ready == actions.Action(
        "Upload", "1 files, 5 bytes", path=f".acaops/prod/phi3-chat/releases/{digest}.tar.gz"
    )
    assert publish.resource_id.endswith(f"/shares/phi3share#.acaops/prod/phi3-chat/releases/{digest}.tar.gz")
    assert made.blocked == workload.NO_CONTENT


@pytest.mark.parametrize("way", ["Bundle", "Mirror"])
def test_content_waits_for_its_share(way: str) -> None:
    """As long as nobody knows what is on it."""
    publish, made = steps(wanted.app(release=way), observed.Workload(replace(wanted.stack(), share=None)))

    assert publish.action is not None
    assert publish.blocked == workload.NO_SHARE
    assert made.ready is None


def test_content_on_a_share_that_cant_be_read() -> None:
    """A reader is told what is lacking."""
    publish, _ = steps(wanted.app(), observed.Workload(replace(wanted.stack(), keys=None)))

    assert isinstance(publish.blocked, outcome.Stalled)
    assert publish.blocked.reason == Reason.FORBIDDEN


def test_without_content_the_app_waits_for_none() -> None:
    """Nothing goes up, nothing is removed."""
    seen = observed.Workload(wanted.stack(), published=observed.Published(mirror={"old.py": "1"}))
    bare = wanted.release(files=content.Content((), ()))

    publish, made = steps(wanted.app(content=[], release="Mirror"), seen, made=bare)

    assert (publish.action, publish.blocked) == (None, None)
    assert made.ready is not None


def file(path: str, sha256: str) -> content.File:
    return content.File(path, Path("/src") / path, 1, sha256, executable=False)


@pytest.mark.parametrize(
    ("there", "files", "put", "delete", "during"),
    [
        pytest.param(None, {"a": "1"}, ["a"], [], {"a": ""}, id="first time"),
        pytest.param({"a": "1"}, {"a": "1", "b": "2"}, ["b"], [], {"a": "1", "b": ""}, id="one more"),
        pytest.param({"a": "1"}, {"a": "2"}, ["a"], [], {"a": ""}, id="changed"),
        pytest.param({"a": "1", "b": "2"}, {"a": "1"}, [], ["b"], {"a": "1", "b": ""}, id="one less"),
        pytest.param({"a": "", "b": ""}, {"a": "1"}, ["a"], ["b"], {"a": "", "b": ""}, id="cut short before"),
        pytest.param({"A/x": "1"}, {"a/x": "1"}, ["a/x"], [], {"A/x": "1", "a/x": ""}, id="another casing, one file"),
    ],
)
def test_a_mirror_writes_what_changed(
    there: dict[str, str] | None, files: dict[str, str], put: list[str], delete: list[str], during: dict[str, str]
) -> None:
    """While it is at it, the manifest names every file that is or was its own; afterwards what is wanted."""
    made = wanted.release(files=content.Content(tuple(file(*one) for one in files.items()), ("inference",)))
    seen = observed.Workload(wanted.stack(), published=observed.Published(mirror=there))

    action = steps(wanted.app(release="Mirror"), seen, made=made)[0].ready

    assert action is not None
    assert action.mirror is not None
    assert ([one.path for one in action.mirror.put], list(action.mirror.delete)) == (put, delete)
    assert (action.mirror.during, action.mirror.after) == (during, files)
    assert action.mirror.manifest_path == ".acaops/prod/phi3-chat/mirror.json"
    assert action.reason == f"{len(put)} files to write, {len(delete)} to remove"


# The model


MODEL = {"env": [], "model": {"base": "models/phi"}}
GONE = observed.Weights(observed.Folder(frozenset(), {}), None)
THERE = observed.Weights(observed.Folder(frozenset({"config.json", "model.safetensors"}), {}), None)
WAITS = outcome.Waiting(
    Reason.MODEL_NOT_FOUND, "waiting for the model: spec.model.base: models/phi isn't on the share, or is empty"
)


def test_a_release_waits_for_its_model() -> None:
    """Its container could only fail: the app isn't made, nor changed to it."""
    app = wanted.app(**MODEL)
    new = observed.Workload(wanted.stack(), published=observed.Published(release=True))
    changed = wanted.workload_of(wanted.created(wanted.app()))
    for seen in (new, changed):
        assert not workload.awaits_model(steps(app, replace(seen, weights=THERE))[1])
        assert steps(app, replace(seen, weights=None))[1].blocked is None
        _, held = steps(app, replace(seen, weights=GONE))
        assert (held.ready, held.blocked) == (None, WAITS)
        assert workload.awaits_model(held)


def test_an_old_revision_is_not_stopped_for_a_model_that_is_missing() -> None:
    """With Recreate nothing would serve until somebody has uploaded it."""
    rollout = {"rollout": {"strategy": "Recreate"}}
    live = wanted.created(wanted.app(**rollout))
    old = wanted.revision(live, "phi3--1")
    properties = {**old.properties, "active": True, "runningState": "Running", "healthState": "Healthy"}
    old = observed.Resource({**old.body, "properties": properties})
    seen = replace(
        wanted.workload_of(wanted.with_properties(live, latestRevisionName="phi3--1")), revisions=(old,), weights=GONE
    )
    app = wanted.app(**MODEL, **rollout)
    assert wanted.plan_app(app, seen).ready == ()
    first, *_ = wanted.plan_app(app, replace(seen, weights=THERE)).ready
    assert (first.kind, first.name) == (Kind.REVISION, "phi3--1")


def test_what_makes_no_new_revision_waits_for_no_model() -> None:
    """A tag, or the traffic."""
    live = wanted.created(wanted.app(**MODEL))
    app = wanted.app(**MODEL, tags={"team": "chat"})
    assert steps(app, wanted.workload_of(live, weights=GONE))[1].ready is not None


def test_a_release_that_runs_or_was_rejected_asks_for_no_model() -> None:
    """Only one whose template is about to be written does."""
    app = wanted.app(**MODEL)
    live = wanted.created(app)
    run = wanted.subject(app, wanted.workload_of(live)).run
    assert not wanted.subject(app, wanted.workload_of(live)).rolls
    assert wanted.subject(wanted.app(), wanted.workload_of(live)).rolls
    other = wanted.created(wanted.app())
    rejected = wanted.with_tags(other, **{tags.REJECTED: f"{run}:ModelNotFound"})
    assert not wanted.subject(app, wanted.workload_of(rejected)).rolls
    assert wanted.subject(app, wanted.workload_of(other)).rolls
