"""The Bicep that runs the controller: where its state and secrets come from, how it is watched, who can reach it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from controller import configuration, settings
from controller.telemetry import hook, http
from tests.image.dockerfile import stages
from tests.unit.infra import bicep

INFRA = Path(__file__).parents[3] / "infra" / "controller"
GROUP = bicep.Group("00000000-0000-0000-0000-000000000000", "rg-acaops")
GIVEN = {
    "image": "registry.azurecr.io/acaops:1",
    "registryName": "registry",
    "repositoryUrl": "https://git.example/team/state.git",
    "repositoryRef": "release",
    "repositoryPath": "state/live",
    "gitToken": "a token",
    "hookSecret": "a hook secret",
    "targetResourceGroups": ["rg-a", "rg-b"],
    "inventory": "blue",
    "secretVariables": {"API_KEYS": "one,two", "GIT_TOKEN": "three"},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "identity": {"properties": {"clientId": "client", "principalId": "principal"}},
    "workspace": {"properties": {"customerId": "a guid"}, "listKeys()": {"primarySharedKey": "a key"}},
    "lease": {"outputs": {"address": "https://account.file.core.windows.net/lease"}},
    "controller": {"properties": {"configuration": {"ingress": {"fqdn": "acaops.example"}}}},
}


def deployed(**changed: Any) -> bicep.Deployment:
    return bicep.deploy(
        bicep.read(INFRA / "controller.bicep"), group=GROUP, parameters=GIVEN | changed, answers=ANSWERS
    )


def template(deployment: bicep.Deployment) -> dict[str, Any]:
    return dict(deployment.resource("controller").body["properties"]["template"])


def container(deployment: bicep.Deployment) -> dict[str, Any]:
    (one,) = template(deployment)["containers"]
    return dict(one)


def environment(deployment: bicep.Deployment) -> dict[str, str]:
    """The plain variables."""
    return {each["name"]: each["value"] for each in container(deployment)["env"] if "value" in each}


def secrets(deployment: bicep.Deployment) -> dict[str, str]:
    listed = deployment.resource("controller").body["properties"]["configuration"]["secrets"]
    assert len({each["name"] for each in listed}) == len(listed)
    return {each["name"]: each["value"] for each in listed}


def files(deployment: bicep.Deployment) -> dict[str, str]:
    """What lies in the container's secret files, by path."""
    made = template(deployment)
    mounts = {each["volumeName"]: PurePosixPath(each["mountPath"]) for each in container(deployment)["volumeMounts"]}
    assert {volume["name"] for volume in made["volumes"]} == mounts.keys()
    return {
        str(mounts[volume["name"]] / item["path"]): secrets(deployment)[item["secretRef"]]
        for volume in made["volumes"]
        if volume["storageType"] == "Secret"
        for item in volume["secrets"]
    }


def chosen(deployment: bicep.Deployment) -> settings.Settings:
    """The settings that the container's controller starts with."""
    environ = stages()["controller"].environment() | environment(deployment)
    assert list(configuration.strangers(environ)) == []
    return configuration.settled(configuration.choose({}, environ=environ, file=None))


def test_it_follows_the_repository() -> None:
    """Address, ref, folder, inventory, and the same groups that the role is given in."""
    made = chosen(deployed())
    assert made.git is not None
    assert (made.git.url, made.git.ref, made.git.path) == (
        "https://git.example/team/state.git",
        "release",
        "state/live",
    )
    assert made.allow == (f"{GROUP.subscription}/rg-a", f"{GROUP.subscription}/rg-b")
    assert made.inventory == "blue"
    plain = chosen(deployed(repositoryRef=None, repositoryPath=None, inventory=None)).git
    assert plain is not None
    assert (plain.ref, plain.path) == ("main", "desired_state")


def test_it_is_started_as_the_image_has_it() -> None:
    """All it is told stands in variables; the probes ask the port that the image serves on."""
    one = container(deployed())
    assert one.keys().isdisjoint({"command", "args"})
    routes = {route.resource.canonical for route in _routes() if route.resource}
    assert {probe["httpGet"]["path"] for probe in one["probes"]} <= routes
    assert {str(probe["httpGet"]["port"]) for probe in one["probes"]} == {stages()["controller"].last("EXPOSE")}


def test_what_is_cached_is_no_part_of_the_image() -> None:
    """The image's cache is a volume that goes with the replica; what lies there is fetched again."""
    made = deployed()
    (volume,) = (each for each in template(made)["volumes"] if each["storageType"] == "EmptyDir")
    (mount,) = (each for each in container(made)["volumeMounts"] if each["volumeName"] == volume["name"])
    assert mount["mountPath"] == str(chosen(made).cache)


def test_git_s_token_is_a_file() -> None:
    """A secret mounted under the name that the setting gives; the user's name where the host wants one."""
    made = deployed(gitUsername="deploy")
    git = chosen(made).git
    assert git is not None
    assert git.token is not None
    assert files(made)[str(git.token.file)] == "a token"
    assert (git.username, git.ssh_key, git.known_hosts) == ("deploy", None, None)


def test_a_deploy_key_comes_with_the_hosts_it_is_for() -> None:
    """Both as files; the key ends in a newline, which ssh demands and shells take away."""
    made = deployed(gitToken=None, gitSshKey="-----END-----", gitKnownHosts="git.example ssh-ed25519 AAAA")
    git = chosen(made).git
    assert git is not None
    assert git.token is None
    assert files(made)[str(git.ssh_key)] == "-----END-----\n"
    assert files(made)[str(git.known_hosts)] == "git.example ssh-ed25519 AAAA"


def test_only_a_hook_opens_a_way_in() -> None:
    """With a secret there is an ingress to the hook's address, for the sources that are named; without, none."""
    made = deployed(hookSources=["192.30.252.0/22"])
    ingress = made.resource("controller").body["properties"]["configuration"]["ingress"]
    assert (ingress["external"], str(ingress["targetPort"])) == (True, stages()["controller"].last("EXPOSE"))
    assert [(rule["action"], rule["ipAddressRange"]) for rule in ingress["ipSecurityRestrictions"]] == [
        ("Allow", "192.30.252.0/22")
    ]
    secret = chosen(made).hook_secret
    assert secret is not None
    assert files(made)[str(secret.file)] == "a hook secret"
    assert made.outputs["HOOK_URL"] == f"https://acaops.example{hook.PATH}"
    without = deployed(hookSecret=None)
    assert without.resource("controller").body["properties"]["configuration"]["ingress"] is None
    assert chosen(without).hook_secret is None
    assert without.outputs["HOOK_URL"] == ""


def test_a_public_repository_needs_no_secret() -> None:
    """Then there is no volume of secrets: one without items would hold every secret of the app."""
    made = deployed(gitToken=None, hookSecret=None)
    assert [volume["storageType"] for volume in template(made)["volumes"]] == ["EmptyDir"]
    assert len(container(made)["volumeMounts"]) == 1


def test_there_is_one_controller() -> None:
    """And while a revision takes the place of another, the lease says which of the two writes."""
    made = deployed()
    assert template(made)["scale"] == {"minReplicas": 1, "maxReplicas": 1}
    assert chosen(made).lease == "https://account.file.core.windows.net/lease"


def test_the_lease_has_a_share_of_its_own() -> None:
    """The controller's identity may read it, name itself there and lease it, no more; there is no key to it."""
    files = {"properties": {"primaryEndpoints": {"file": "https://account.file.core.windows.net/"}}}
    made = bicep.deploy(
        bicep.read(INFRA / "lease.bicep"),
        group=GROUP,
        parameters={"location": "westus3", "principalId": "principal"},
        answers={"account": files},
    )
    assert made.outputs["address"] == "https://account.file.core.windows.net/lease"
    assert made.resource("account").body["properties"]["allowSharedKeyAccess"] is False
    (permissions,) = made.resource("role").body["properties"]["permissions"]
    shares = "Microsoft.Storage/storageAccounts/fileServices/shares"
    assert permissions["actions"] == [f"{shares}/read", f"{shares}/write", f"{shares}/lease/action"]
    given = made.resource("assignment").body
    assert given["scope"]["id"].endswith(f"/storageAccounts/{made.resource('account').body['name']}")
    assert given["properties"]["principalId"] == "principal"


def test_credentials_are_the_managed_identity_s() -> None:
    """No other kind of credential is tried."""
    named = environment(deployed())
    assert named["AZURE_TOKEN_CREDENTIALS"] == "ManagedIdentityCredential"
    assert named["AZURE_CLIENT_ID"] == "client"


def test_secret_values_stand_in_secrets_only() -> None:
    """The variables that a desired state's fromEnv names refer to them; every parameter that holds one is secure."""
    made = deployed(gitSshKey="a private key")
    referred = {
        each["name"]: secrets(made)[each["secretRef"]] for each in container(made)["env"] if "secretRef" in each
    }
    assert referred == GIVEN["secretVariables"]
    values = ("a token", "a hook secret", "a private key", "one,two", "three")
    assert [value for value in values if value in json.dumps(template(made)) + json.dumps(made.outputs)] == []
    secure = {each.name for each in bicep.read(INFRA / "controller.bicep") if "secure" in each.decorators}
    assert secure == {"gitToken", "gitSshKey", "hookSecret", "secretVariables"}


def test_the_role_is_given_in_the_target_groups_only() -> None:
    """One definition and one assignment each, to the controller's identity."""
    made = [each for each in deployed().resources if each.symbol == "access"]
    assert [each.body["scope"]["name"] for each in made] == ["rg-a", "rg-b"]
    assert all(each.body["params"] == {"principalId": "principal", "prune": False} for each in made)
    assert len({each.body["name"] for each in made}) == 2


def test_pruning_is_asked_for() -> None:
    """The controller and its role learn of it together; an inventory of its own is needed, as by the command."""
    made = deployed(prune=True, inventory="prod")
    assert chosen(made).prune
    assert all(each.body["params"]["prune"] for each in made.resources if each.symbol == "access")
    assert not chosen(deployed()).prune


def test_modules_get_the_parameters_they_declare() -> None:
    """And no others; so does the deployment get its own from the parameters file."""
    for each in deployed().resources:
        if each.type.endswith(".bicep"):
            declared = {one.name for one in bicep.read(INFRA / each.type) if one.kind == "param"}
            assert declared == each.body["params"].keys()
    given = json.loads((INFRA / "controller.parameters.json").read_text())["parameters"]
    plain = {name: one["value"] for name, one in given.items()}
    made = bicep.deploy(bicep.read(INFRA / "controller.bicep"), group=GROUP, parameters=plain, answers=ANSWERS)
    assert chosen(made).allow == (f"{GROUP.subscription}/rg-phi3",)


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
