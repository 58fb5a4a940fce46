"""An AI Toolkit project as desired state, and everything in one that is wrong, by place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.migration import migrated, toolkit
from controller.model import identity

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
SUFFIX = identity.unique_string(identity.group_id(SUBSCRIPTION, "Team_One"))[:5]
NAMES = (
    "storageAccountName",
    "fileShareName",
    "acaEnvironmentName",
    "acaEnvironmentStorageName",
    "acaAppName",
    "acaLogAnalyticsName",
)
BICEP = """\
param defaultCommands array
param maximumInstanceCount int
param location string = resourceGroup().location
param suffix string = substring(uniqueString(resourceGroup().id), 0, 5)
param storageAccountName string = 'aistorage${suffix}'
param fileShareName string = 'aifileshare${suffix}'
param acaEnvironmentName string = 'aienv${suffix}'
param acaEnvironmentStorageName string = 'aienvstorage${suffix}'
param acaAppName string = 'aiacaapp${suffix}'
param acaLogAnalyticsName string = 'ailog${suffix}'

resource a 'Microsoft.Storage/storageAccounts@2023-01-01' = {
  name: storageAccountName
}
resource b 'Microsoft.Storage/storageAccounts/fileServices/shares@2023-01-01' = {
  name: fileShareName
}
resource c 'Microsoft.OperationalInsights/workspaces@2022-10-01' = {
  name: acaLogAnalyticsName
}
resource d 'Microsoft.App/managedEnvironments@2023-11-02-preview' = {
  name: acaEnvironmentName
  properties: {
    workloadProfiles: [
      { name: 'GPU', workloadProfileType: 'NC24-A100', minimumCount: 0, maximumCount: maximumInstanceCount }
    ]
  }
}
resource e 'Microsoft.App/managedEnvironments/storages@2023-11-02-preview' = {
  name: acaEnvironmentStorageName
}
resource f 'Microsoft.App/containerApps@2023-11-02-preview' = {
  name: acaAppName
  properties: {
    workloadProfileName: 'GPU'
    configuration: {
      ingress: { external: true, targetPort: 7860 }
    }
    template: {
      containers: [
        {
          name: acaAppName
          image: 'docker.io/library/python:3.12'
          command: ['/bin/bash', '-c', join(defaultCommands, '&& ')]
          resources: { cpu: 24, memory: '220Gi' }
          volumeMounts: [{ volumeName: 'v', mountPath: '/mount' }]
        }
      ]
      volumes: [{ name: 'v', storageType: 'AzureFile', storageName: e.name }]
    }
  }
}
"""
CONFIG = {"SUBSCRIPTION_ID": SUBSCRIPTION, "RESOURCE_GROUP_NAME": "Team_One"}
DEPLOYED = CONFIG | {
    "STORAGE_ACCOUNT_NAME": f"aistorage{SUFFIX}",
    "FILE_SHARE_NAME": f"aifileshare{SUFFIX}",
    "ACA_APP_NAME": f"aiacaapp{SUFFIX}",
}
PARAMETERS: Mapping[str, Any] = {
    "location": "westus3",
    "maximumInstanceCount": 2,
    "defaultCommands": ["cd /mount", "python app.py"],
} | dict.fromkeys(NAMES)


class Project:
    """An AI Toolkit project, file by file."""

    def __init__(self, root: Path) -> None:
        self.infra = root / "my chat" / "infra"
        (self.infra / "provision").mkdir(parents=True)
        (self.infra.parent / "inference").mkdir()
        self.config(**CONFIG)
        self.parameters()
        self.bicep(BICEP)

    def config(self, name: str = "inference", **values: Any) -> None:
        (self.infra / f"{name}.config.json").write_text(json.dumps(values, indent=2))

    def parameters(self, name: str = "inference", **values: Any) -> None:
        body = {"parameters": {key: {"value": value} for key, value in (PARAMETERS | values).items()}}
        (self.infra / "provision" / f"{name}.parameters.json").write_text(json.dumps(body, indent=2))

    def bicep(self, text: str) -> None:
        (self.infra / "provision" / "inference.bicep").write_text(text)

    def read(self, **given: str) -> migrated.Migrated:
        return toolkit.read(self.infra, **given)

    def problems(self, **given: str) -> list[str]:
        with pytest.raises(migrated.MigrationError) as caught:
            self.read(**given)
        return [problem.replace(f"{self.infra}/", "") for problem in caught.value.problems]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def named(found: migrated.Migrated) -> dict[str, Any]:
    spec = found.environment["spec"]
    return {
        "storageAccountName": spec["storage"]["accountName"],
        "fileShareName": spec["storage"]["shareName"],
        "acaEnvironmentName": spec["containerApps"]["environmentName"],
        "acaEnvironmentStorageName": spec["containerApps"]["storageName"],
        "acaLogAnalyticsName": spec["logAnalytics"]["workspaceName"],
        "acaAppName": found.app["spec"]["appName"],
    }


def test_defaults_stay_null_and_objects_are_named_for_people(project: Project) -> None:
    """The names of AI Toolkit are acaops' own; the objects are called as the group and the project."""
    found = project.read()
    assert named(found) == dict.fromkeys(NAMES)
    assert found.environment["metadata"]["name"] == "team-one"
    assert found.app["metadata"]["name"] == "my-chat"


def test_names_on_record_are_defaults_still(project: Project) -> None:
    """What provisioning wrote down says nothing new where it is a default; a note says that all is there."""
    project.config(**DEPLOYED)
    found = project.read()
    assert named(found) == dict.fromkeys(NAMES)
    assert [note for note in found.notes if note.startswith("everything is provisioned")]
    assert found.warnings == ()


def test_names_given_are_kept(project: Project) -> None:
    """Also one that is the default: it was written down on purpose."""
    project.parameters(acaAppName="chat-1", storageAccountName=f"aistorage{SUFFIX}")
    given = {"acaAppName": "chat-1", "storageAccountName": f"aistorage{SUFFIX}"}
    assert named(project.read()) == dict.fromkeys(NAMES) | given


def test_names_of_resources_made_by_hand_are_kept_and_the_rest_doubted(project: Project) -> None:
    """inference.config.json has no room for the environment's name."""
    project.config(**DEPLOYED | {"STORAGE_ACCOUNT_NAME": "byhand"})
    found = project.read()
    assert named(found) == dict.fromkeys(NAMES) | {"storageAccountName": "byhand"}
    assert [warning for warning in found.warnings if f"(byhand), so aienv{SUFFIX}, aienvstorage{SUFFIX}" in warning]


def test_fine_tuning_s_own_names_stand_in_until_inference_is_provisioned(project: Project) -> None:
    """Then inference has names of its own, default or not."""
    project.parameters("finetuning", storageAccountName="trained", maximumInstanceCount=5)
    project.parameters(maximumInstanceCount=None)
    found = project.read()
    assert named(found)["storageAccountName"] == "trained"
    assert "storageAccountName is fine-tuning's: trained" in found.notes
    assert found.environment["spec"]["containerApps"]["workloadProfiles"][0]["maximumCount"] == 5
    project.parameters()
    project.config(**DEPLOYED)
    assert named(project.read())["storageAccountName"] is None


def test_fine_tuning_s_group_counts_too(project: Project) -> None:
    """Its config is filled in first."""
    project.config("finetuning", **CONFIG)
    project.config(SUBSCRIPTION_ID=None, RESOURCE_GROUP_NAME=None)
    assert project.read().environment["spec"]["subscriptionId"] == SUBSCRIPTION


def test_a_subscription_s_case_does_not_matter(project: Project) -> None:
    """Default names follow from the id as ARM spells it."""
    capital = "ABCDEF00-1111-1111-1111-111111111111"
    suffix = identity.unique_string(identity.group_id(capital.lower(), "Team_One"))[:5]
    project.config(**DEPLOYED | {"SUBSCRIPTION_ID": capital, "STORAGE_ACCOUNT_NAME": f"aistorage{suffix}"})
    assert named(project.read())["storageAccountName"] is None


def test_a_project_that_was_never_provisioned_takes_its_target_from_the_user(project: Project) -> None:
    """And says how, until it is told."""
    project.config(SUBSCRIPTION_ID=None, RESOURCE_GROUP_NAME=None)
    never = "is null: the project was never provisioned from here; pass"
    assert project.problems() == [
        f"inference.config.json:2:22: SUBSCRIPTION_ID {never} --subscription",
        f"inference.config.json:3:26: RESOURCE_GROUP_NAME {never} --resource-group",
    ]
    spec = project.read(subscription=SUBSCRIPTION, resource_group="Team_One").environment["spec"]
    assert (spec["subscriptionId"], spec["resourceGroup"]) == (SUBSCRIPTION, "Team_One")


def test_the_content_is_the_code_and_what_its_commands_install(project: Project) -> None:
    """`setup` where the commands name it; a project without code is warned of."""
    (project.infra.parent / "setup").mkdir()
    project.parameters(defaultCommands=["python setup.py"])
    assert [target for _, target in project.read().contents] == ["inference"]
    project.parameters(defaultCommands=["pip install -r ./setup/requirements.txt"])
    assert [target for _, target in project.read().contents] == ["inference", "setup"]
    (project.infra.parent / "setup").rmdir()
    (project.infra.parent / "inference").rmdir()
    found = project.read()
    assert found.contents == ()
    assert [warning for warning in found.warnings if "the app has no content" in warning]


@pytest.mark.parametrize("location", ["West US 3", "westus3"])
def test_a_region_is_its_code(project: Project, location: str) -> None:
    """However it was spelled; none is the group's."""
    project.parameters(location=location)
    assert project.read().environment["spec"]["location"] == "westus3"
    project.parameters(location=None)
    assert project.read().environment["spec"]["location"] is None


def test_a_single_machine_is_warned_of(project: Project) -> None:
    """A rollout has two revisions for a while."""
    project.parameters(maximumInstanceCount=1)
    assert [warning for warning in project.read().warnings if "GPU has one machine" in warning]


def test_a_profile_is_spelled_as_in_the_environment(project: Project) -> None:
    """The service takes any case, a state folder one."""
    project.bicep(BICEP.replace("workloadProfileName: 'GPU'", "workloadProfileName: 'gpu'"))
    assert project.read().app["spec"]["workloadProfileName"] == "GPU"


def test_commands_that_ran_otherwise_are_told(project: Project) -> None:
    """COMMANDS on record are what was deployed; the parameters are what would be."""
    project.config(**DEPLOYED, COMMANDS=["other"])
    assert [warning for warning in project.read().warnings if "COMMANDS differ from defaultCommands" in warning]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"storageAccountName": "No-Account"},
            "provision/inference.parameters.json:16:16: spec.storage.accountName: 'No-Account' must be 3 to 24",
        ),
        (
            {"acaAppName": ""},
            "provision/inference.parameters.json:28:16: acaAppName is ''; it must be a name, or null",
        ),
        (
            {"defaultCommands": "python app.py"},
            "provision/inference.parameters.json:10:16: defaultCommands is 'python app.py'; it must be a list of",
        ),
        (
            {"maximumInstanceCount": "2"},
            "provision/inference.parameters.json:7:16: maximumInstanceCount is '2'; it must be a number",
        ),
        (
            {"maximumInstanceCount": None},
            "provision/inference.bicep:24:5: a workload profile isn't known; give maximumInstanceCount a value",
        ),
        (
            {"maximumInstanceCount": 0},
            "provision/inference.parameters.json:7:16: spec.containerApps.workloadProfiles.0.maximumCount:",
        ),
    ],
)
def test_a_bad_parameter_is_told_where_it_stands(project: Project, values: dict[str, Any], problem: str) -> None:
    """File, line, column, the value, and what would be right."""
    project.parameters(**values)
    found = project.problems()
    assert len(found) == 1
    assert found[0].startswith(problem), found


def test_a_target_that_is_no_text_is_refused(project: Project) -> None:
    """Not taken for a name."""
    project.config(**CONFIG | {"RESOURCE_GROUP_NAME": 5})
    assert project.problems() == ["inference.config.json:3:26: RESOURCE_GROUP_NAME is 5; it must be text, or null"]


def test_a_name_that_differs_from_what_was_provisioned_is_refused(project: Project) -> None:
    """Either may be meant, so the user says which; likewise for another group than the recorded one."""
    project.config(**DEPLOYED)
    project.parameters(storageAccountName="newone")
    recorded = f"but provisioned was 'aistorage{SUFFIX}' ({project.infra}/inference.config.json:4:27)"
    assert project.problems(resource_group="other") == [
        "inference.config.json:3:26: RESOURCE_GROUP_NAME is 'Team_One', --resource-group says 'other'; make them agree",
        "provision/inference.parameters.json:16:16: storageAccountName is 'newone', "
        + recorded.replace(f"{project.infra}/", "")
        + "; make them agree",
    ]


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("image: 'docker.io/library/python:3.12'", "image: images[0]", "43:11: image isn't known; write its value"),
        (
            "acaAppName string = 'aiacaapp${suffix}'",
            "acaAppName string",
            "9:7: the name of the Microsoft.App/containerApps",
        ),
        ("'/bin/bash', '-c'", "e.name, '-c'", "44:11: the container's command isn't known"),
        ("['/bin/bash', '-c', join(defaultCommands, '&& ')]", "e.name", "44:11: the container's command isn't known"),
        ("cpu: 24", "cpu: true ? 1 : 2", "45:24: cpu isn't known"),
        ("external: true", "external: !false", "37:18: spec.ingress.external: Input should be a valid boolean"),
        ("volumeMounts:", "env: e.properties\n          volumeMounts:", "46:11: the variables aren't known"),
        ("volumeMounts:", "env: [e.x]\n          volumeMounts:", "46:11: the variables aren't known"),
        (
            "volumeMounts:",
            "env: [{ name: 'A', secretRef: e.name }]\n          volumeMounts:",
            "46:30: env A: its secret isn't known",
        ),
        (
            "volumeMounts:",
            "env: [{ name: 'A', value: e.name }]\n          volumeMounts:",
            "46:11: env A: its value isn't known",
        ),
        ("'NC24-A100'", "'Flex'", "35:5: GPU is no workload profile that acaops knows"),
        ("workloadProfiles: [", "workloadProfiles: e.x\n    x: [", "24:5: a workload profile isn't known"),
        ("Microsoft.App/containerApps@", "Microsoft.App/jobs@", "1:1: there is no Microsoft.App/containerApps here"),
    ],
)
def test_bicep_that_says_too_little_is_told_by_place(project: Project, was: str, becomes: str, problem: str) -> None:
    """What only a deployment would know."""
    assert was in BICEP
    project.bicep(BICEP.replace(was, becomes))
    found = project.problems()
    assert found[0].startswith(f"provision/inference.bicep:{problem}"), found


def test_files_that_can_not_be_read_are_told(project: Project) -> None:
    """Not JSON, not an object, no Bicep, none at all."""
    (project.infra / "inference.config.json").write_text('{\n  "SUBSCRIPTION_ID": nul\n}')
    (project.infra / "finetuning.config.json").write_text("[]")
    assert project.problems() == [
        "inference.config.json:2:22: not JSON: Expecting value",
        "finetuning.config.json:1:1: must be a JSON object",
    ]
    (project.infra / "finetuning.config.json").unlink()
    (project.infra / "inference.config.json").write_text('{"ACA_APP_NAME": null,\n\t"ACA_APP_NAME": "x"}')
    assert project.problems() == ["inference.config.json:2:2: duplicate key 'ACA_APP_NAME': first on line 1"]
    project.config(**CONFIG)
    project.bicep("param = 1")
    assert project.problems()[0].startswith("provision/inference.bicep:1:7: this isn't Bicep")
    (project.infra / "provision" / "inference.bicep").unlink()
    assert "isn't there, and nothing else says the image; read the live app by --from-azure" in project.problems()[0]
    (project.infra / "provision" / "inference.parameters.json").unlink()
    assert project.problems()[0].endswith("name an AI Toolkit project's infra folder")


def test_the_project_folder_will_do(project: Project) -> None:
    """It has `infra` in it."""
    assert toolkit.read(project.infra.parent) == project.read()
