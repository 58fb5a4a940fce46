"""The Microsoft.App provider put together: its routes, who answers at a host name, and starting again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from infra.local_azure import clock, operations, replicas, shares, store, wire
from infra.local_azure.apps import (
    apps,
    children,
    context,
    environments,
    events,
    facts,
    logstream,
    profiles,
    revisions,
    sites,
    storages,
)
from infra.local_azure.arm import regions


class Provider:
    """`Microsoft.App`. Implements `replicas.Sites` for the ingress; `facts` answers those who watch.

    `gpu_limit` is the A100s a subscription may have in dedicated profiles in one region (0 by default on
    Azure); `slow_gpu` makes an environment with such a profile take the 984 s recorded once; `one_at_a_time` refuses
    writes to an app while another of its environment has an operation in progress.
    """

    def __init__(
        self,
        documents: store.Store,
        time: clock.Clock,
        ops: operations.Operations,
        shares: shares.Shares,
        runtime: replicas.Runtime,
        scaler: replicas.Scaler,
        account_keys: Callable[[str], Sequence[str] | None],
        *,
        authority: Callable[[], str],
        gpu_limit: int,
        slow_gpu: bool,
        one_at_a_time: bool,
    ) -> None:
        self._rooms = context.Context(documents, time, ops, shares, runtime, account_keys, authority)
        told = events.Events(time)
        self._environments = environments.Environments(
            self._rooms, gpu_limit=gpu_limit, slow_gpu=slow_gpu, one_at_a_time=one_at_a_time
        )
        self._storages = storages.Storages(self._rooms, self._environments)
        self._revisions = revisions.Revisions(self._rooms, self._storages, told, scaler)
        self._apps = apps.Apps(self._rooms, self._environments, self._storages, self._revisions)
        self._children = children.Children(self._rooms, self._apps, self._revisions)
        self.facts = facts.Facts(self._rooms, self._revisions)
        self._sites = sites.Sites(self._rooms, self._revisions)
        self._streams = logstream.Streams(self._rooms, self._revisions, told)
        runtime.changed = self._revisions.changed
        scaler.scaled = self._revisions.scaled

    def routes(self) -> list[wire.Route]:
        location = f"/subscriptions/{{subscription}}{context.PROVIDER}/locations/{{location}}"
        types = f"{location}/availableManagedEnvironmentsWorkloadProfileTypes"
        return [
            *self._environments.routes(),
            *self._storages.routes(),
            *self._apps.routes(),
            *self._children.routes(),
            wire.Route("GET", types, self._profile_types, needs_group=False),
            wire.Route("GET", f"{location}/usages", self._usages, needs_group=False),
        ]

    def resume(self) -> None:
        """After the operations resumed: run again what ran before the server stopped."""
        self._revisions.resume()

    def stop(self) -> None:
        """Before the runtime closes: what ends from here on is the server's end, not the revisions'."""
        self._revisions.stop()

    def site(self, host: str) -> replicas.Site | None:
        """The app or revision at `host` (lower case, no port)."""
        return self._sites.site(host)

    async def logstream(self, request: web.BaseRequest) -> web.StreamResponse:
        """The log and event streams; see `logstream`."""
        return await self._streams.serve(request)

    def delete_group(self, subscription: str, group: str) -> None:
        """Remove everything in the resource group, apps first; and apps of other groups that lose their
        environment with it (assumed)."""
        under = context.group_id({"subscription": subscription, "group": group})
        leaving = list(self._rooms.documents.list(context.ENVIRONMENTS, under=under))
        lost = {environment["id"].lower() for environment in leaving}
        for app in list(self._rooms.documents.list(context.APPS)):
            if app["environment"].lower() in lost or app["id"].lower().startswith(f"{under.lower()}/"):
                self._apps.forget(app)
        for environment in leaving:
            self._environments.forget(environment)

    async def _profile_types(self, call: wire.Call) -> wire.Reply:
        """The same in every region; on Azure GPU types depend on it (recorded: northeurope)."""
        location = regions.code(call.names["location"])
        return wire.Reply(200, {"value": profiles.available(call.names["subscription"], location)})

    async def _usages(self, call: wire.Call) -> wire.Reply:
        """Names as recorded; the limits but the GPUs' are assumed."""
        subscription, location = call.names["subscription"], regions.code(call.names["location"])
        under = f"/subscriptions/{subscription}"
        inside = self._rooms.documents.list(context.ENVIRONMENTS, under=under)
        count = sum(item["location"] == location for item in inside)
        gpus = self._environments.dedicated_gpus(subscription, location)
        return wire.Reply(
            200,
            {
                "value": [
                    profiles.usage("ManagedEnvironmentCount", count, 50),
                    profiles.usage("SubscriptionDedicatedNCA100Gpus", gpus, self._environments.gpu_limit),
                    profiles.usage("SessionPools", 0, 20),
                ]
            },
        )
