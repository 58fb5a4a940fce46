"""Evaluates a Bicep file as a deployment to one resource group would. It knows no resource's schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.model import identity
from tests.unit.infra.bicep_text import BicepError, Declaration, read

__all__ = ["BicepError", "Declaration", "Deployment", "Group", "Resource", "deploy", "read"]


@dataclass(frozen=True)
class Resource:
    """A resource or module as deployed; of a loop, one instance. `body` without what Bicep itself consumes."""

    symbol: str
    type: str
    version: str
    existing: bool
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Where the deployment goes."""

    subscription: str
    name: str
    location: str = "westus3"

    @property
    def id(self) -> str:
        return identity.group_id(self.subscription, self.name)


@dataclass
class Deployment:
    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def resource(self, symbol: str) -> Resource:
        (found,) = (each for each in self.resources if each.symbol == symbol)
        return found


def deploy(
    declarations: list[Declaration],
    *,
    group: Group,
    parameters: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Any]] | None = None,
) -> Deployment:
    """Evaluate everything, in any order of declaration. A parameter that is null takes its default, as ARM does.

    `answers` are, by symbol, what only the service knows: merged into what is read from that resource.
    """
    known = {each.name: each for each in declarations if each.kind != "output"}
    made = Deployment()
    scope = _Lazy(known, parameters, group, answers or {}, made)
    for each in declarations:
        if each.kind == "output":
            assert each.value is not None
            made.outputs[each.name] = each.value(scope)
        else:
            scope[each.name]
    return made


def _functions(group: Group) -> dict[str, Callable[..., Any]]:
    subscription = f"/subscriptions/{group.subscription}"
    return {
        "resourceGroup": lambda name=group.name: _group(group, name),
        "subscription": lambda: {"subscriptionId": group.subscription, "id": subscription},
        "subscriptionResourceId": lambda kind, name: f"{subscription}/providers/{kind}/{name}",
        "uniqueString": identity.unique_string,
        "guid": lambda *parts: f"guid of {' '.join(parts)}",
        "substring": lambda text, start, length: text[start : start + length],
        "replace": lambda text, old, new: text.replace(old, new),
        "split": lambda text, mark: text.split(mark),
        "toLower": lambda text: text.lower(),
        "join": lambda items, mark: mark.join(items),
        "concat": lambda *lists: [item for each in lists for item in each],
        "flatten": lambda lists: [item for each in lists for item in each],
        "take": lambda items, count: items[: max(0, count)],
        "last": lambda items: items[-1],
        "length": len,
        "empty": lambda value: not value,
        "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
        "json": float,
    }


def _group(group: Group, name: str) -> dict[str, str]:
    return {"id": Group(group.subscription, name).id, "name": name, "location": group.location}


class _Lazy(dict[str, Any]):
    """Values by name, each evaluated when it is first asked for."""

    def __init__(
        self,
        known: Mapping[str, Declaration],
        parameters: Mapping[str, Any],
        group: Group,
        answers: Mapping[str, Mapping[str, Any]],
        made: Deployment,
    ) -> None:
        super().__init__({f"{name}()": function for name, function in _functions(group).items()})
        unknown = parameters.keys() - {each.name for each in known.values() if each.kind == "param"}
        if unknown:
            raise BicepError(f"no such parameters: {sorted(unknown)}")
        self._known, self._parameters, self._group = known, parameters, group
        self._answers, self._made = answers, made

    def __missing__(self, name: str) -> Any:
        each = self._known.get(name)
        if each is None:
            raise BicepError(f"{name} is not declared")
        if each.kind == "param" and self._parameters.get(name) is not None:
            value = self._parameters[name]
        elif each.value is None:
            raise BicepError(f"parameter {name} has neither a value nor a default")
        else:
            value = each.value(self)
        if each.kind in ("resource", "module"):
            made = value if isinstance(value, list) else [] if value is None else [value]
            value = [self._deployed(each, body) for body in made]
            value = value if len(value) != 1 else value[0]
        self[name] = value
        return value

    def _deployed(self, each: Declaration, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What others see of a resource: its body, its id, and what the service adds."""
        kind, _, version = each.type.partition("@")
        parent = body.get("parent")
        own = {key: value for key, value in body.items() if key not in ("parent", "dependsOn")}
        self._made.resources.append(Resource(each.name, kind, version, each.existing, own))
        inside = f"{parent['id']}/{kind.rsplit('/', 1)[-1]}" if parent else f"{self._group.id}/providers/{kind}"
        told = {"id": f"{inside}/{body['name']}", **own}
        return _merged(told, self._answers.get(each.name, {}))


def _merged(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(one[key], two[key]) for key in one.keys() & two.keys() if isinstance(one[key], Mapping)}
    return {**one, **two, **both}
