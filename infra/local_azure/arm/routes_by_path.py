"""Which route a request's path leads to, and why none does. Knows the routes' patterns only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from infra.local_azure import wire

TYPE = re.compile(r"/providers/(?P<namespace>[^/]+)/(?P<type>[^/]+)", re.IGNORECASE)


class Table:
    """Routes by method and number of segments, so that a look-up tries few patterns."""

    def __init__(self, routes: Iterable[wire.Route]) -> None:
        self._routes: dict[tuple[str, int], list[tuple[re.Pattern[str], wire.Route]]] = defaultdict(list)
        self._types: dict[str, dict[str, str]] = defaultdict(dict)
        self._namespaces: dict[str, str] = {}
        for route in routes:
            self._routes[route.method, route.pattern.count("/")].append((route.compile(), route))
            self._learn(route.pattern)

    def _learn(self, pattern: str) -> None:
        found = TYPE.search(pattern)
        if found and not found["namespace"].startswith("{"):
            namespace = found["namespace"].lower()
            self._namespaces[namespace] = found["namespace"]
            self._types[namespace][found["type"].lower()] = found["type"]

    def find(self, method: str, path: str) -> tuple[wire.Route, dict[str, str]] | None:
        for pattern, route in self._routes.get((method, path.count("/")), ()):
            found = pattern.fullmatch(path)
            if found:
                return route, found.groupdict()
        return None

    def namespace(self, name: str) -> str:
        """The provider's name in its own casing."""
        return self._namespaces.get(name.lower(), name)

    def missing(self, method: str, path: str, version: str) -> wire.ArmError:
        """Why there is no route (documented: ARM's common errors; the 405's words are assumed)."""
        found = TYPE.search(path)
        if found and found["namespace"].lower() not in self._namespaces:
            message = f"The resource namespace '{found['namespace']}' is invalid."
            return wire.ArmError(404, "InvalidResourceNamespace", message, gateway=True)
        if found and found["type"].lower() not in self._types[found["namespace"].lower()]:
            message = (
                f"The resource type '{found['type']}' could not be found in the namespace '{found['namespace']}' "
                f"for api version '{version}'."
            )
            return wire.ArmError(404, "InvalidResourceType", message, gateway=True)
        others = {other for other, _ in self._routes if other != method and self.find(other, path)}
        if others:
            message = f"The requested resource does not support http method '{method}'."
            return wire.ArmError(405, "MethodNotAllowed", message, headers={"Allow": ", ".join(sorted(others))})
        message = f"No HTTP resource was found that matches the request URI '{path}'."
        return wire.ArmError(404, "HttpResourceNotFound", message, gateway=True)
