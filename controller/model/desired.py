"""The desired state: what one YAML document may say, with its defaults and limits.

Each field's docstring is its description in the JSON schema and in the reference. What stands here is checked
against itself only; what needs a second object or the file system is checked by `sources.manifest`. A field whose
behaviour doesn't exist yet accepts its default and refuses the rest with a message that begins `not yet:`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from controller.model import fields, limits, pointers, rollouts, served
from controller.model.base import Model
from controller.model.fields import given, not_yet

API_VERSION = "acaops/v1"

DEDICATED_TYPES = (
    *("NC24-A100", "NC48-A100", "NC96-A100"),
    *("D4", "D8", "D16", "D32"),
    *("E4", "E8", "E16", "E32"),
)
SERVERLESS = "Consumption"

Sku = Literal[
    "Standard_LRS",
    "Standard_GRS",
    "Standard_RAGRS",
    "Standard_ZRS",
    "Standard_GZRS",
    "Standard_RAGZRS",
    "Premium_LRS",
    "Premium_ZRS",
]


class Metadata(Model):
    name: fields.ObjectName
    """What the object is called in acaops: in status, logs and the owner tag."""


class Storage(Model):
    account_name: fields.AccountName | None = None
    """The storage account to use or create. null: `aistorage` and five characters of the resource group."""
    share_name: fields.ShareName | None = None
    """The file share to use or create. null: `aifileshare` and five characters of the resource group."""
    share_quota_gib: Annotated[int, Field(ge=1, le=102_400, alias="shareQuotaGiB")] = 1024
    """The share's size limit in GiB."""
    sku: Sku = "Standard_LRS"
    """The storage account's redundancy and performance."""


class LogAnalytics(Model):
    workspace_name: fields.WorkspaceName | None = None
    """The Log Analytics workspace to use or create. null: `ailog` and five characters of the resource group."""


class WorkloadProfile(Model):
    name: fields.ProfileName
    """What apps call the profile."""
    type: str
    """The machines: NC24-A100, NC48-A100, NC96-A100, D4 to D32, E4 to E32, or serverless: Consumption-GPU-NC8as-T4
    and the like."""
    minimum_count: Annotated[int, Field(ge=0, le=1000)] | None = None
    """The least number of machines kept. Required for the dedicated types, an error for the serverless ones."""
    maximum_count: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The most machines. During a rollout the old and the new revision each need theirs."""

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value in DEDICATED_TYPES or value == SERVERLESS or value.startswith(f"{SERVERLESS}-"):
            return value
        raise fields.refusal(f"{value!r} is no workload profile type: {', '.join(DEDICATED_TYPES)} or Consumption-…")

    @model_validator(mode="after")
    def _counts_fit_the_type(self) -> WorkloadProfile:
        fields.refuse(self._count_problems())
        return self

    @property
    def serverless(self) -> bool:
        return self.type not in DEDICATED_TYPES

    def _count_problems(self) -> Iterable[tuple[fields.Loc, str]]:
        counts = {"minimumCount": self.minimum_count, "maximumCount": self.maximum_count}
        for name, count in counts.items():
            if self.serverless and count is not None:
                yield (name,), f"{self.type} is serverless: it takes no counts"
            if not self.serverless and count is None:
                yield (), f"{self.type} is dedicated: {name} is required"
        if (self.minimum_count or 0) > (self.maximum_count or 1000):
            yield ("minimumCount",), f"minimumCount {self.minimum_count} is more than maximumCount {self.maximum_count}"
        # assumed: recorded environments have no other pairing
        if (self.name == SERVERLESS) != (self.type == SERVERLESS):
            yield ("name",), "the profile of type Consumption, and no other, is named Consumption"


class ContainerApps(Model):
    environment_name: fields.EnvironmentName | None = None
    """The managed environment to use or create. null: `aienv` and five characters of the resource group."""
    storage_name: fields.StorageName | None = None
    """The environment storage, by which apps mount the share. null: `aienvstorage` and five characters of the
    resource group."""
    subnet_id: Annotated[None, not_yet("a subnet", given)] = None
    """A subnet of your own for the environment. Not yet."""
    workload_profiles: Annotated[tuple[WorkloadProfile, ...], Strict(False)] = ()
    """The machines apps may run on. Dedicated GPU profiles must be there when the environment is created.
    `Consumption` is always there and need not be listed."""

    @field_validator("workload_profiles")
    @classmethod
    def _no_name_twice(cls, value: tuple[WorkloadProfile, ...]) -> tuple[WorkloadProfile, ...]:
        fields.refuse(_twice(value, what="workload profile"))
        return value


class EnvironmentSpec(Model):
    subscription_id: fields.Guid
    """The Azure subscription."""
    resource_group: fields.GroupName
    """The resource group everything lies in."""
    location: fields.Location | None = None
    """The region's code. null: the resource group's, which must exist then."""
    storage: Storage = Storage()
    """The storage account and the file share that holds models, adapters and code."""
    log_analytics: LogAnalytics = LogAnalytics()
    """Where container logs go."""
    container_apps: ContainerApps = ContainerApps()
    """The managed environment."""
    tags: fields.Tags = Field(default_factory=dict)
    """Tags for the account, the workspace and the environment, when acaops creates them. At most 40."""
    mode: Literal["Manage", "Observe"] = "Manage"
    """Manage: make Azure look like this. Observe: read, compare and report what differs; write nothing."""
    deletion_policy: Literal["Delete", "Retain"] = "Retain"
    """What happens to the resources when this object is deleted or pruned. Retain: they stay. Delete: those acaops
    created go, with the data on the share; the resource group and what was adopted stay."""


class Environment(Model):
    """What fine-tuning and several apps may share: account, share, logs, managed environment."""

    api_version: Literal["acaops/v1"]
    """The format's version."""
    kind: Literal["Environment"]
    """The kind of object."""
    metadata: Metadata
    """The object's name."""
    spec: EnvironmentSpec
    """What there should be."""


class Identity(Model):
    type: Annotated[
        Literal["None", "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned"],
        BeforeValidator(fields.unspaced),
    ] = "None"
    """The managed identities the app has. None: leave those alone that it has. The others are added to what it has; one
    that somebody else assigned stays."""
    user_assigned: Annotated[tuple[fields.IdentityId, ...], Strict(False)] = ()
    """The resource ids of the user-assigned identities. The controller must be Managed Identity Operator of each."""

    @field_validator("user_assigned")
    @classmethod
    def _no_identity_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        fields.refuse(((index,), f"identity {name!r} is there twice") for index, name in fields.duplicates(value))
        return value

    @model_validator(mode="after")
    def _type_fits_the_list(self) -> Identity:
        fields.refuse(self._list_problems())
        return self

    @property
    def system(self) -> bool:
        return "SystemAssigned" in self.type

    def _list_problems(self) -> Iterable[tuple[fields.Loc, str]]:
        listed = "UserAssigned" in self.type
        if listed and not self.user_assigned:
            yield (), f"type {self.type} needs userAssigned: the identities' resource ids"
        if self.user_assigned and not listed:
            yield ("userAssigned",), f"type is {self.type}: user-assigned identities need UserAssigned in it"


class Registry(Model):
    server: fields.Server
    """The registry's host, e.g. myregistry.azurecr.io."""
    identity: Literal["system"] | fields.IdentityId
    """The identity that pulls: `system`, or the resource id of one in identity.userAssigned. It needs the role AcrPull
    on the registry; one of the system can be given it only once the app is there."""


class Suspend(Model):
    reason: fields.Remark
    """Why, for whoever reads the status."""
    until: fields.Moment | None = None
    """When it ends by itself: RFC 3339 with its zone, like 2026-11-22T18:00:00Z. null: when this is removed."""

    def in_force(self, now: datetime) -> bool:
        """Whether the app is suspended at `now` (aware)."""
        return self.until is None or now < self.until


class Content(Model):
    path: fields.Line
    """A folder, relative to this YAML file, inside the git work tree (or the state folder's parent)."""
    target: fields.Target
    """Where its files go: a POSIX path relative to the folder the commands run in, or for Mirror to the share."""

    @field_validator("path")
    @classmethod
    def _relative(cls, value: str) -> str:
        if value.startswith(("/", "~")) or "\x00" in value:
            raise fields.refusal(f"{value!r} must be relative to the YAML file")
        return value


class Secret(Model):
    name: fields.SecretName
    """What env entries refer to."""
    from_env: fields.VariableName | None = None
    """The controller's environment variable that holds the value; none of its own settings and credentials."""
    from_file: fields.Line | None = None
    """The file, as the controller sees it, that holds the value; relative to this YAML file. One newline at its end
    is dropped. From a remote repository only files in the controller's `secrets-folder`, by their absolute path."""
    key_vault_url: Annotated[None, not_yet("a Key Vault reference", given)] = None
    """A Key Vault secret. Not yet."""
    identity: Annotated[None, not_yet("a Key Vault reference", given)] = None
    """The identity that reads the Key Vault. Not yet."""

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, data: Any) -> Any:
        if isinstance(data, dict) and "value" in data:
            remedy = "name an environment variable or a file of the controller by fromEnv or fromFile"
            fields.refuse([(("value",), f"secrets never stand in YAML: {remedy}")])
        return data

    @field_validator("from_env")
    @classmethod
    def _not_the_controllers(cls, value: str | None) -> str | None:
        if value is not None and fields.is_controllers(value):
            raise fields.refusal(f"{value!r} is the controller's own; it isn't given to apps")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Secret:
        if (self.from_env is None) == (self.from_file is None):
            raise fields.refusal(f"secret {self.name!r} needs exactly one of fromEnv and fromFile")
        return self


class EnvVar(Model):
    name: fields.VariableName
    """The variable. Names beginning with ACAOPS_ are reserved."""
    value: str | None = None
    """Its value."""
    secret_ref: str | None = None
    """Instead of a value: the secret that holds it."""

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value.startswith("ACAOPS_"):
            raise fields.refusal(f"{value!r}: names beginning with ACAOPS_ are reserved")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> EnvVar:
        if (self.value is None) == (self.secret_ref is None):
            raise fields.refusal(f"env {self.name!r} needs exactly one of value and secretRef")
        return self


class Resources(Model):
    cpu: Annotated[float, Field(gt=0, le=1000)]
    """Cores."""
    memory: fields.Memory
    """GiB."""


class Ingress(Model):
    external: bool = True
    """Reachable from outside of the environment."""
    target_port: Annotated[int, Field(ge=1, le=65_535)] = 7860
    """The port the app listens on."""
    sticky: bool | None = None
    """Whether a client stays with one replica, as pages with sessions need it where there are several. null: where
    there may be several. Not with the strategies BlueGreen and Canary: Azure has it for one revision at a time only."""
    allow: Annotated[tuple[()], Strict(False), not_yet("an allow list of CIDRs", given)] = ()
    """The CIDRs that may connect; empty: all. Others than empty: not yet."""


class Scale(Model):
    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """The least number of replicas; 0 lets the app sleep, and a model load anew at the next request."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """The most replicas."""
    concurrent_requests: Annotated[int, Field(ge=1)] | None = 10
    """Requests at once that make one more replica. null: leave the live scale rules; a created app gets the platform's
    own, which is 10."""

    @model_validator(mode="after")
    def _most_not_below_least(self) -> Scale:
        if self.max_replicas < self.min_replicas:
            says = f"maxReplicas {self.max_replicas} is less than minReplicas {self.min_replicas}"
            fields.refuse([(("maxReplicas",), says)])
        return self


class AppSpec(Model):
    environment_ref: fields.ObjectName
    """The Environment this app runs in."""
    app_name: fields.AppName | None = None
    """The container app to use or create. null: `aiacaapp` and five characters of the resource group."""
    image: fields.ImageName
    """The container image."""
    registries: Annotated[tuple[Registry, ...], Strict(False)] = ()
    """Private registries to pull from by a managed identity of the app. Registries that others set up stay."""
    identity: Identity = Identity()
    """The app's managed identities."""
    workload_profile_name: fields.ProfileName = "GPU"
    """The environment's profile to run on, or Consumption."""
    commands: Annotated[tuple[fields.Line, ...], Strict(False), Field(min_length=1)]
    """Shell commands run one after the other; the last one serves."""
    content: Annotated[tuple[Content, ...], Strict(False)] = ()
    """The folders to publish: the code, an adapter, …"""
    model: served.ServedModel | None = None
    """The model to serve, by its folders on the share. null: the app finds its model by itself, or by its env."""
    release: Literal["Bundle", "Mirror"] = "Bundle"
    """Bundle: an immutable archive per release, unpacked to local disk. Mirror: plain files on the share, as AI
    Toolkit does; old bytes are gone, so content can't be rolled back."""
    mount_path: fields.MountPath = "/mount"
    """Where the share is mounted in the container."""
    secrets: Annotated[tuple[Secret, ...], Strict(False)] = ()
    """The app's secrets, by reference. A new value makes a new revision."""
    env: Annotated[tuple[EnvVar, ...], Strict(False)] = ()
    """The container's environment variables: `{name, value}` or `{name, secretRef}`."""
    resources: Resources | None = None
    """What one replica gets; a GPU comes with the profile. null: all that a machine of the workload profile has, like
    24 cores and 220Gi of NC24-A100, or 8 and 56Gi of Consumption-GPU-NC8as-T4; on Consumption 0.5 cores and 1Gi."""
    ingress: Ingress = Ingress()
    """How the app is reached."""
    probes: Annotated[
        Literal["Keep"] | None, not_yet("probes of your own", lambda value: isinstance(value, (list, dict)))
    ] = None
    """null: computed from startupBudget. Keep: leave the live ones; a created app gets the platform's own. Others: not
    yet."""
    startup_budget: Annotated[
        float, fields.Seconds(most=limits.longest_start(), why=", the most that the service's startup probe waits")
    ] = 1200.0
    """How long the app may take until it listens; then its container is started anew. At most 15h57m. What an app may
    take after that until it answers is up to rollout.deadline."""
    scale: Scale = Scale()
    """How many replicas."""
    termination_grace_period: Annotated[float, fields.Seconds(most=600, zero=True, whole=True)] = 60.0
    """From SIGTERM to SIGKILL, in whole seconds. At most 10m."""
    rollout: rollouts.Rollout = rollouts.Rollout()
    """When a release counts as good, and what happens until then."""
    revision_history: Annotated[int, Field(ge=0, le=100)] | None = 10
    """How many inactive revisions Azure keeps: what may be gone back to. null: leave the live number, which is 100 for
    a created app."""
    interval: fields.Duration = 600.0
    """How often a settled app is looked at."""
    retry_interval: fields.Duration | None = None
    """The pause after a failure that may pass. null: growing, from 0.75 s to 15 min."""
    timeout: fields.Duration = 300.0
    """The most one pass over this app may take."""
    depends_on: Annotated[tuple[fields.ObjectName, ...], Strict(False)] = ()
    """Other InferenceApps, by their names here, that must be Ready before anything is written for this one."""
    drift: Literal["Correct", "Report"] = "Correct"
    """Correct: what somebody changed in Azure is put back. Report: it is shown, and stays until the YAML changes; then
    all that differs is written. A container app that is missing is made in any case."""
    mode: Literal["Manage", "Observe"] = "Manage"
    """Manage: make Azure look like this. Observe: read, compare and report what differs; write nothing."""
    suspend: Suspend | None = None
    """Write nothing for this app for a while; it is still read, compared and reported."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """What happens to the container app when this object is deleted or pruned. Delete: it goes, if acaops created it;
    an adopted one stays. Retain: it stays."""
    ignore: Annotated[tuple[Annotated[str, AfterValidator(pointers.checked)], ...], Strict(False)] = ()
    """JSON pointers into the container app as Azure has it, left to other writers: sent when the app is created, never
    compared or overwritten later, like `/properties/template/scale/maxReplicas`, `/tags/team` or
    `/properties/template/containers/0/env/LOG_LEVEL`. In lists, an entry is named by its name, or by its position among
    those the YAML makes. A pointer to what acaops doesn't write has no effect. To begin or end ignoring a part of the
    template makes one new revision."""
    tags: fields.Tags = Field(default_factory=dict)
    """Tags for the container app. At most 40."""

    @field_validator("content")
    @classmethod
    def _targets_apart(cls, value: tuple[Content, ...]) -> tuple[Content, ...]:
        clashes = fields.nested(folder.target for folder in value)
        fields.refuse(
            ((index, "target"), f"{value[index].target!r} equals, holds or lies in {other!r}")
            for index, other in clashes
        )
        return value

    @field_validator("secrets")
    @classmethod
    def _no_secret_twice(cls, value: tuple[Secret, ...]) -> tuple[Secret, ...]:
        fields.refuse(_twice(value, what="secret"))
        return value

    @field_validator("depends_on")
    @classmethod
    def _no_app_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        fields.refuse(((index,), f"{name!r} is there twice") for index, name in fields.duplicates(value))
        return value

    @model_validator(mode="after")
    def _parts_fit(self) -> AppSpec:
        fields.refuse(_registry_problems(self.registries, self.identity))
        fields.refuse(_ignore_problems(self.ignored, variables=len(self.env)))
        fields.refuse(_session_problems(self.ingress, self.scale, self.rollout))
        if self.model is not None:
            wrong = served.problems(self.model, checked=self.rollout.check is not None)
            fields.refuse((("model", *place), message) for place, message in wrong)
        return self

    @property
    def sticky(self) -> bool:
        """Whether a client is to stay with one replica."""
        several = self.scale.max_replicas > 1
        return several if self.ingress.sticky is None else self.ingress.sticky

    @property
    def ignored(self) -> tuple[pointers.Tokens, ...]:
        """`ignore`, each pointer as its tokens."""
        return tuple(pointers.tokens(pointer) for pointer in self.ignore)

    @field_validator("env")
    @classmethod
    def _env_fits(cls, value: tuple[EnvVar, ...], info: ValidationInfo) -> tuple[EnvVar, ...]:
        fields.refuse(_env_problems(value, info.data.get("secrets")))
        return value


class InferenceApp(Model):
    """One served model: a container app, the code it runs and how a new release is judged."""

    api_version: Literal["acaops/v1"]
    """The format's version."""
    kind: Literal["InferenceApp"]
    """The kind of object."""
    metadata: Metadata
    """The object's name."""
    spec: AppSpec
    """What there should be."""


KINDS: dict[str, type[Environment] | type[InferenceApp]] = {"Environment": Environment, "InferenceApp": InferenceApp}


def json_schema() -> dict[str, Any]:
    """The JSON schema of one YAML document, for editors. Values this version refuses as not yet aren't in it."""
    document: TypeAdapter[Any] = TypeAdapter(Annotated[Environment | InferenceApp, Field(discriminator="kind")])
    schema = _tidy(document.json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"acaops {API_VERSION}", **schema}


def _tidy(node: Any) -> Any:
    """Durations' defaults as they are written; without the titles pydantic derives from names."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("pattern") == fields.DURATION_JSON_PATTERN and "default" in node:
        node = node | {"default": fields.duration(node["default"])}
    return {key: _tidy(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}


def _registry_problems(registries: Iterable[Registry], identity: Identity) -> Iterable[tuple[fields.Loc, str]]:
    listed = list(registries)
    for index, server in fields.duplicates(registry.server for registry in listed):
        yield ("registries", index, "server"), f"registry {server!r} is there twice"
    assigned = {one.lower() for one in identity.user_assigned}
    for index, registry in enumerate(listed):
        place = ("registries", index, "identity")
        if registry.identity == "system" and not identity.system:
            yield place, f"'system' needs SystemAssigned in identity.type, which is {identity.type}"
        if registry.identity != "system" and registry.identity.lower() not in assigned:
            yield place, f"{registry.identity!r} isn't in identity.userAssigned"


def _session_problems(ingress: Ingress, scale: Scale, rollout: rollouts.Rollout) -> Iterable[tuple[fields.Loc, str]]:
    """Sessions live in one replica, and Azure keeps a client with its replica in single-revision mode only."""
    if not rollout.beside:
        return
    why = f"strategy {rollout.strategy} runs two revisions side by side, and Azure has sticky sessions for one only"
    if ingress.sticky:
        yield ("ingress", "sticky"), f"{why}: use Rolling or Recreate, or set this to false"
    elif ingress.sticky is None and scale.max_replicas > 1:
        remedy = "if the app keeps no sessions set ingress.sticky to false, else use Rolling or Recreate, or 1 here"
        yield ("scale", "maxReplicas"), f"{scale.max_replicas} replicas need sticky sessions; {why}: {remedy}"


def _ignore_problems(ignored: Iterable[pointers.Tokens], *, variables: int) -> Iterable[tuple[fields.Loc, str]]:
    """A position in the container's env counts what the YAML has: what follows there is acaops's own."""
    for at, path in enumerate(ignored):
        position = (
            pointers.index(path[5]) if path[2:3] == ("containers",) and path[4:5] == ("env",) and path[5:] else None
        )
        if position is not None and position >= variables:
            yield ("ignore", at), f"env has {variables} entries: name the variable, or a position below {variables}"


def _twice(named: Iterable[WorkloadProfile | Secret], *, what: str) -> Iterable[tuple[fields.Loc, str]]:
    for index, name in fields.duplicates(item.name for item in named):
        yield (index, "name"), f"{what} {name!r} is there twice"


def _env_problems(env: Iterable[EnvVar], secrets: Iterable[Secret] | None) -> Iterable[tuple[fields.Loc, str]]:
    """`secrets` is None when they are invalid themselves: references to them are not judged then."""
    declared = None if secrets is None else {secret.name for secret in secrets}
    seen: set[str] = set()
    for index, variable in enumerate(env):
        if variable.name in seen:
            yield (index, "name"), f"env {variable.name!r} is there twice"
        seen.add(variable.name)
        if variable.secret_ref is not None and declared is not None and variable.secret_ref not in declared:
            yield (index, "secretRef"), f"no secret is called {variable.secret_ref!r}"
