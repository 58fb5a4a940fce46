"""ARM resource ids, taken apart. The services change the case of their segments, so names keep theirs and
types are compared without regard to it."""

from __future__ import annotations

from dataclasses import dataclass

from controller.model import kinds

_FIXED = ("subscriptions", "resourcegroups", "providers")


@dataclass(frozen=True)
class Id:
    """`/subscriptions/S/resourceGroups/G[/providers/N/type/name[/type/name…]]`.

    `names` are those after the provider, outermost first: `("env", "storage")`; empty for a resource group.
    """

    subscription: str
    group: str
    names: tuple[str, ...] = ()


def parse(resource_id: str) -> Id:
    """Raises ValueError for what isn't the id of a resource group or of something in one."""
    segments = resource_id.strip("/").split("/")
    fixed = tuple(segment.lower() for segment in segments[0:5:2])
    if len(segments) < 4 or len(segments) % 2 or fixed not in (_FIXED, _FIXED[:2]):
        raise ValueError(f"not the id of a resource in a resource group: {resource_id}")
    return Id(segments[1], segments[3], tuple(segments[7::2]))


def listing(kind: kinds.Kind, scope: str) -> str:
    """Where everything of `kind` is listed: in the subscription or resource group `scope`, or below the resource."""
    if kind is kinds.Kind.GROUP:
        return f"{scope}/resourcegroups"
    in_provider = len(scope.strip("/").split("/")) <= 4
    return f"{scope}/providers/{kind}" if in_provider else f"{scope}/{kind.rpartition('/')[2]}"


def subscription(path: str) -> str:
    """The subscription that an id, or a path below one, lies in."""
    segments = path.strip("/").split("/")
    if len(segments) < 2 or segments[0].lower() != "subscriptions":
        raise ValueError(f"not in a subscription: {path}")
    return segments[1]
