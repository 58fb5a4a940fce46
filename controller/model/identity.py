"""Which Azure resources an object stands for: names, their AI Toolkit defaults, and resource ids.

Pure arithmetic on names; whether a resource exists is not asked here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from controller.model import desired

_MASK = 0xFFFFFFFF
_C1, _C2 = 2869860233, 597399067
_F1, _F2 = 2246822507, 3266489909
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def unique_string(*parts: str) -> str:
    """ARM's `uniqueString(...)`: 13 characters of a-z2-7, the same for the same parts. Case matters."""
    hashed = _hash64("-".join(parts).encode())
    # thirteen characters of five bits are one bit more than 64
    return "".join(_ALPHABET[(hashed << 1 >> shift) & 31] for shift in range(60, -1, -5))


def group_id(subscription: str, group: str) -> str:
    """The resource group's id, as ARM spells it."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}"


@dataclass(frozen=True)
class Names:
    """The names of one Environment's resources. `storage` is the environment storage, before any key rotation."""

    account: str
    share: str
    environment: str
    storage: str
    workspace: str


def names(environment: desired.Environment, *, group_id: str) -> Names:
    """Those in the spec; for null, AI Toolkit's. `group_id` as ARM returns it: the defaults depend on its case."""
    suffix = _suffix(group_id)
    spec = environment.spec
    return Names(
        account=spec.storage.account_name or f"aistorage{suffix}",
        share=spec.storage.share_name or f"aifileshare{suffix}",
        environment=spec.container_apps.environment_name or f"aienv{suffix}",
        storage=spec.container_apps.storage_name or f"aienvstorage{suffix}",
        workspace=spec.log_analytics.workspace_name or f"ailog{suffix}",
    )


def app_name(app: desired.InferenceApp, *, group_id: str) -> str:
    """The container app's name: the spec's, or AI Toolkit's."""
    return app.spec.app_name or f"aiacaapp{_suffix(group_id)}"


@dataclass(frozen=True)
class Ids:
    """The resource ids of one Environment and of what stands on it. `group` is the resource group's id."""

    group: str
    names: Names

    @property
    def account(self) -> str:
        return f"{self.group}/providers/Microsoft.Storage/storageAccounts/{self.names.account}"

    @property
    def file_service(self) -> str:
        return f"{self.account}/fileServices/default"

    @property
    def share(self) -> str:
        return f"{self.file_service}/shares/{self.names.share}"

    @property
    def workspace(self) -> str:
        return f"{self.group}/providers/Microsoft.OperationalInsights/workspaces/{self.names.workspace}"

    @property
    def environment(self) -> str:
        return f"{self.group}/providers/Microsoft.App/managedEnvironments/{self.names.environment}"

    def storage(self, name: str) -> str:
        """The environment storage called `name`: it changes when an account key is rotated."""
        return f"{self.environment}/storages/{name}"

    def app(self, name: str) -> str:
        return f"{self.group}/providers/Microsoft.App/containerApps/{name}"


def ids(environment: desired.Environment) -> Ids:
    """The ids as the spec spells them."""
    group = group_id(environment.spec.subscription_id, environment.spec.resource_group)
    return Ids(group, names(environment, group_id=group))


@functools.lru_cache(maxsize=1024)
def _suffix(group: str) -> str:
    return unique_string(group)[:5]


def _hash64(data: bytes) -> int:
    """A 64-bit hash of the MurmurHash3 family, of two 32-bit lanes."""
    one = two = 0
    for first, second in _blocks(data):
        one = ((_rotated(one ^ _mixed_one(first), 19) + two) * 5 + 1444728091) & _MASK
        two = ((_rotated(two ^ _mixed_two(second), 13) + one) * 5 + 197830471) & _MASK
    tail = data[len(data) & ~7 :]
    one ^= _mixed_one(int.from_bytes(tail[:4], "little"))
    two ^= _mixed_two(int.from_bytes(tail[4:], "little"))
    return _finished(one, two, length=len(data))


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    for start in range(0, len(data) & ~7, 8):
        yield int.from_bytes(data[start : start + 4], "little"), int.from_bytes(data[start + 4 : start + 8], "little")


def _finished(one: int, two: int, *, length: int) -> int:
    two ^= length
    one = ((one ^ length) + two) & _MASK
    two = (one + two) & _MASK
    one, two = _avalanche(one), _avalanche(two)
    one = (one + two) & _MASK
    two = (one + two) & _MASK
    return two << 32 | one


def _mixed_one(word: int) -> int:
    return _rotated(word * _C2 & _MASK, 15) * _C1 & _MASK


def _mixed_two(word: int) -> int:
    return _rotated(word * _C1 & _MASK, 17) * _C2 & _MASK


def _avalanche(word: int) -> int:
    word = (word ^ word >> 16) * _F1 & _MASK
    word = (word ^ word >> 13) * _F2 & _MASK
    return word ^ word >> 16


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK
