"""The Bicep that runs the controller: what it may do, what it is started with, how it is watched."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import typer

from controller import cli
from controller.cloud import azure
from controller.model.kinds import Kind
from controller.telemetry import http
from tests.unit.infra import bicep

INFRA = Path(__file__).parents[3] / "infra" / "controller"
GROUP = bicep.Group("00000000-0000-0000-0000-000000000000", "rg-acaops")
GIVEN = {
    "image": "registry.azurecr.io/acaops:1",
    "registryName": "registry",
    "targetResourceGroups": ["rg-a", "rg-b"],
    "inventory": "blue",
    "secretVariables": {"API_KEYS": "one,two", "HF_TOKEN": "three"},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "identity": {"properties": {"clientId": "client", "principalId": "principal"}},
    "account": {"listKeys()": {"keys": [{"value": "key one"}]}},
    "workspace": {"properties": {"customerId": "a guid"}, "listKeys()": {"primarySharedKey": "a key"}},
}
READ_BY_POST = {"listKeys": Kind.ACCOUNT, "sharedKeys": Kind.WORKSPACE, "listSecrets": Kind.APP}


def deployed(**changed: Any) -> bicep.Deployment:
    return bicep.deploy(
        bicep.read(INFRA / "controller.bicep"), group=GROUP, parameters=GIVEN | changed, answers=ANSWERS
    )


def container(deployment: bicep.Deployment) -> dict[str, Any]:
    (one,) = deployment.resource("controller").body["properties"]["template"]["containers"]
    assert isinstance(one, dict)
    return one


def actions() -> list[str]:
    role = bicep.deploy(bicep.read(INFRA / "role.bicep"), group=GROUP, parameters={"principalId": "principal"})
    (permission,) = role.resource("role").body["properties"]["permissions"]
    return list(permission["actions"])


def test_the_role_is_what_the_cloud_room_does() -> None:
    """Every kind's read and write, the POSTs that read, joining an environment: no more, no less."""
    posts = re.findall(r'_post\([^,]+, f"\{\w+\}/(\w+)"\)', Path(azure.__file__).read_text())
    assert set(posts) == READ_BY_POST.keys()
    group = "Microsoft.Resources/subscriptions/resourceGroups"
    kinds = [kind for kind in azure._CREATE if kind is not Kind.GROUP]
    assert sorted(actions()) == sorted(
        [
            f"{group}/read",
            *(f"{kind}/{verb}" for kind in kinds for verb in ("read", "write")),
            *(f"{kind}/{post}/action" for post, kind in READ_BY_POST.items()),
            f"{Kind.ENVIRONMENT}/join/action",
            f"{Kind.REVISION}/read",
            f"{Kind.REVISION}/replicas/read",
        ]
    )


def test_the_role_is_given_in_the_target_groups_only() -> None:
    """One definition and one assignment each, to the controller's identity."""
    made = [each for each in deployed().resources if each.symbol == "access"]
    assert [each.body["scope"]["name"] for each in made] == ["rg-a", "rg-b"]
    assert all(each.body["params"] == {"principalId": "principal"} for each in made)
    assert len({each.body["name"] for each in made}) == 2


def test_modules_get_the_parameters_they_declare() -> None:
    """And no others."""
    for each in deployed().resources:
        if each.type.endswith(".bicep"):
            declared = {one.name for one in bicep.read(INFRA / each.type) if one.kind == "param"}
            assert declared == each.body["params"].keys()


def test_it_is_started_as_the_command_line_has_it() -> None:
    """The state folder on the mount, all addresses, its inventory, and the same groups that the role is given in."""
    made = deployed()
    one = container(made)
    verb, *arguments = one["args"]
    command = typer.main.get_command(cli.app)
    context = command.get_command(typer.Context(command), verb).make_context(verb, arguments)  # type: ignore[attr-defined]
    assert context.params["allow"] == [f"{GROUP.subscription}/rg-a", f"{GROUP.subscription}/rg-b"]
    assert (context.params["host"], context.params["inventory"]) == ("0.0.0.0", "blue")
    (mount,) = one["volumeMounts"]
    assert PurePosixPath(context.params["folder"]).parent == PurePosixPath(mount["mountPath"])
    assert made.resource("stateStorage").body["properties"]["azureFile"]["accessMode"] == "ReadOnly"
    routes = {route.resource.canonical for route in _routes() if route.resource}
    assert {probe["httpGet"]["path"] for probe in one["probes"]} == {"/healthz", "/readyz"} <= routes
    assert {probe["httpGet"]["port"] for probe in one["probes"]} == {context.params["port"]}


def test_there_is_one_controller_and_no_way_in() -> None:
    """Two would write side by side; nobody but the platform's probes calls it."""
    properties = deployed().resource("controller").body["properties"]
    assert "ingress" not in properties["configuration"]
    assert properties["template"]["scale"] == {"minReplicas": 1, "maxReplicas": 1}


def test_credentials_are_the_managed_identity_s() -> None:
    """No other kind of credential is tried."""
    named = {each["name"]: each.get("value") for each in container(deployed())["env"]}
    assert named["AZURE_TOKEN_CREDENTIALS"] == "ManagedIdentityCredential"
    assert named["AZURE_CLIENT_ID"] == "client"


def test_secret_values_stand_in_secrets_only() -> None:
    """The variables that a state folder's fromEnv names refer to them."""
    made = deployed()
    secrets = {
        each["name"]: each["value"]
        for each in made.resource("controller").body["properties"]["configuration"]["secrets"]
    }
    referred = {each["name"]: secrets[each["secretRef"]] for each in container(made)["env"] if "secretRef" in each}
    assert referred == GIVEN["secretVariables"]
    (declared,) = (each for each in bicep.read(INFRA / "controller.bicep") if each.name == "secretVariables")
    assert "secure" in declared.decorators


def test_a_public_image_needs_no_registry() -> None:
    """Without a registry no pull role is given and none is named."""
    made = deployed(registryName=None, image="docker.io/library/acaops:1")
    assert made.resource("controller").body["properties"]["configuration"]["registries"] == []
    assert "pull" not in {each.symbol for each in made.resources}
    named = deployed()
    assert named.resource("pull").body["params"] == {"registryName": "registry", "principalId": "principal"}
    (registry,) = named.resource("controller").body["properties"]["configuration"]["registries"]
    assert registry["server"] == "registry.azurecr.io"


def _routes() -> Any:
    answers = http.Answers(
        alive=lambda: True, unready=tuple, status=dict, find=lambda kind, name: None, metrics=lambda: (b"", "")
    )
    return http.application(answers, version="0", inventory="default").router.routes()
