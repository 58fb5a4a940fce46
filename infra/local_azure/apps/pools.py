"""The machines that an app's replicas share: from an environment's workload profile to the runtime's pool.

Reads documents, changes nothing.
"""

from __future__ import annotations

from infra.local_azure import replicas, store
from infra.local_azure.apps import profiles
from infra.local_azure.apps.context import Document


def demand(app: Document, template: Document) -> replicas.Demand:
    """What one replica of the app takes."""
    containers = [item["resources"] for item in template["containers"]]
    profile = app["profile"] or profiles.CONSUMPTION
    return replicas.Demand(
        pool=f"{app['environment']}/workloadProfiles/{profile}".lower(),
        profile=profile,
        cores=sum(float(item["cpu"]) for item in containers),
        memory=sum(gibibytes(item["memory"]) for item in containers),
    )


def gibibytes(memory: str) -> float:
    return float(memory.removesuffix("Gi"))


class Pools:
    """The pools of every environment. `gpu_limit` is what SubscriptionDedicatedNCA100Gpus grants in each region."""

    def __init__(self, documents: store.Store, *, gpu_limit: int) -> None:
        self._documents = documents
        self._gpu_limit = gpu_limit

    def find(self, name: str) -> replicas.Pool | None:
        """The pool that `demand` names; None for Consumption, and for a profile that isn't there any more.

        A profile that is to be added, or to get other counts, counts once it is provisioned (assumed).
        """
        environment_id, _, profile = name.partition("/workloadprofiles/")
        environment = self._documents.get(environment_id)
        if environment is None:
            return None
        found = profiles.find(environment["granted"] or environment["properties"]["workloadProfiles"], profile)
        if found is None or profiles.of(found).name == profiles.CONSUMPTION:
            return None
        return self._pool(environment, found)

    def _pool(self, environment: Document, profile: profiles.Profile) -> replicas.Pool:
        kind = profiles.of(profile)
        quota, granted = profiles.GPU_QUOTAS.get(kind.name, (profiles.DEDICATED_GPUS, self._gpu_limit))
        region = f"{environment['subscription']}/{environment['location']}".lower()
        return replicas.Pool(
            nodes=int(profile["maximumCount"]) if kind.dedicated else None,
            cores=kind.cores,
            memory=kind.memory,
            gpus=kind.gpus,
            quota=quota,
            scope=region if kind.dedicated else str(environment["id"]).lower(),
            granted=granted,
        )
