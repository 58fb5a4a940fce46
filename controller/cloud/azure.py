"""`port.Cloud` on the real SDK. It decides nothing: bodies come ready, answers go out as they are, and what an
error means is in `errors`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from pydantic import SecretStr

from controller.cloud import (
    accounts,
    answers,
    apps,
    arm,
    calls,
    circuit,
    endpoint,
    environments,
    files,
    gate,
    groups,
    ids,
    lease,
    logs,
    pacing,
    port,
    secret,
    share_calls,
    writes,
)
from controller.cloud import session as sessions
from controller.cloud import workspaces as workspace_writes
from controller.model import kinds, observed

NOWHERE = "00000000-0000-0000-0000-000000000000"

_Write = Callable[[sessions.Session, ids.Id, Any], Awaitable[None]]
_Delete = Callable[[sessions.Session, ids.Id], Awaitable[None]]

_CREATE: Mapping[kinds.Kind, _Write] = {
    kinds.Kind.GROUP: groups.create,
    kinds.Kind.ACCOUNT: accounts.create_account,
    kinds.Kind.FILE_SERVICE: accounts.put_file_service,
    kinds.Kind.SHARE: accounts.create_share,
    kinds.Kind.WORKSPACE: workspace_writes.create,
    kinds.Kind.ENVIRONMENT: environments.create,
    kinds.Kind.STORAGE: environments.put_storage,
    kinds.Kind.APP: apps.create,
}
_UPDATE: Mapping[kinds.Kind, _Write] = {
    kinds.Kind.GROUP: groups.update,
    kinds.Kind.ACCOUNT: accounts.update_account,
    kinds.Kind.FILE_SERVICE: accounts.put_file_service,
    kinds.Kind.SHARE: accounts.update_share,
    kinds.Kind.WORKSPACE: workspace_writes.update,
    kinds.Kind.ENVIRONMENT: environments.update,
    kinds.Kind.STORAGE: environments.put_storage,
    kinds.Kind.APP: apps.update,
}
_DELETE: Mapping[kinds.Kind, _Delete] = {
    kinds.Kind.ACCOUNT: accounts.delete_account,
    kinds.Kind.SHARE: accounts.delete_share,
    kinds.Kind.WORKSPACE: workspace_writes.delete,
    kinds.Kind.ENVIRONMENT: environments.delete,
    kinds.Kind.STORAGE: environments.delete_storage,
    kinds.Kind.APP: apps.delete,
}


class Azure:
    """One cloud behind one session. Close it, or use it as a context manager."""

    def __init__(
        self,
        cloud: str | None = None,
        *,
        credential: AsyncTokenCredential | None = None,
        wrap: sessions.Wrap | None = None,
        pace: share_calls.Pace | None = None,
        fence: gate.Fence | None = None,
        clock: pacing.Clock | None = None,
    ) -> None:
        """`cloud` is ARM's address, None for the public one; raises ValueError unless it is https. Sends nothing.

        `wrap` puts something between the SDK and the wire; `pace` is how requests to a share are repeated; `fence` is
        called just before each writing request is sent, and stops it by raising OutcomeError; `clock` is that of
        the pace of requests to ARM.
        """
        self._session = sessions.Session(cloud, credential=credential, wrap=wrap, fence=fence, clock=clock)
        self._pace = pace
        self._logs = logs.Logs(
            self._session,
            post=lambda path: self._post(kinds.Kind.APP, path),
            read=lambda resource_id: self.read(kinds.Kind.APP, resource_id),
        )

    @property
    def fence(self) -> gate.Fence | None:
        """What is asked just before each writing request is sent; it raises OutcomeError to stop it."""
        return self._session.fence

    @fence.setter
    def fence(self, fence: gate.Fence | None) -> None:
        self._session.fence = fence

    @property
    def calls(self) -> calls.Calls:
        """Tells of each request."""
        return self._session.calls

    @property
    def pacing(self) -> pacing.Pacing:
        """Tells of each request to ARM that had to wait for its turn."""
        return self._session.pacing

    @property
    def circuits(self) -> circuit.Circuits:
        """Tells when a subscription is given up for a while."""
        return self._session.circuits

    @property
    def writes(self) -> writes.Writes:
        """What was sent so far that asks for a change."""
        return self._session.writes

    async def __aenter__(self) -> Azure:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def read(self, kind: kinds.Kind, resource_id: str) -> observed.Resource | None:
        body = await arm.get(await self._client(kind, resource_id), resource_id, host=self._session.host)
        return None if body is None else observed.Resource(body)

    async def create(self, kind: kinds.Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        await self._write(_CREATE[kind], resource_id, body)

    async def update(self, kind: kinds.Kind, resource_id: str, body: Mapping[str, Any]) -> None:
        await self._write(_UPDATE[kind], resource_id, body)

    async def delete(self, kind: kinds.Kind, resource_id: str) -> None:
        if kind not in _DELETE:
            raise ValueError(f"a {kind.label} is never deleted: {resource_id}")
        call = _DELETE[kind](self._session, ids.parse(resource_id))
        try:
            await answers.judged(call, host=self._session.host)
        except answers.Refused as refused:
            if not arm.absent(refused):
                raise

    async def activate(self, revision_id: str) -> None:
        call = apps.activate(self._session, ids.parse(revision_id))
        await answers.judged(call, host=self._session.host)

    async def deactivate(self, revision_id: str) -> None:
        call = apps.deactivate(self._session, ids.parse(revision_id))
        await answers.judged(call, host=self._session.host)

    async def listed(self, kind: kinds.Kind, scope: str) -> tuple[observed.Resource, ...]:
        return await self._list(kind, ids.listing(kind, scope))

    async def register(self, namespace: str, subscription: str) -> None:
        call = groups.register(self._session, subscription, namespace)
        await answers.judged(call, host=self._session.host)

    async def revisions(self, app_id: str) -> tuple[observed.Resource, ...]:
        items = await self._list(kinds.Kind.APP, f"{app_id}/revisions")
        return tuple(sorted(items, key=lambda revision: str(revision.properties.get("createdTime", ""))))

    async def replicas(self, revision_id: str) -> tuple[observed.Resource, ...]:
        return await self._list(kinds.Kind.APP, f"{revision_id}/replicas")

    async def logs(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> tuple[str, ...]:
        return await self._logs.tail(logs.Stream(app, replica, container), tail=tail)

    def follow(
        self, app: observed.Resource, replica: observed.Resource, container: str, *, tail: int
    ) -> AsyncGenerator[str, None]:
        return self._logs.follow(logs.Stream(app, replica, container), tail=tail)

    async def account_keys(self, account_id: str) -> tuple[SecretStr, ...]:
        answer = await self._post(kinds.Kind.ACCOUNT, f"{account_id}/listKeys")
        return tuple(SecretStr(str(key["value"])) for key in answer.get("keys") or ())

    async def workspace_key(self, workspace_id: str) -> SecretStr:
        answer = await self._post(kinds.Kind.WORKSPACE, f"{workspace_id}/sharedKeys")
        return SecretStr(str(answer["primarySharedKey"]))

    async def app_secrets(self, app_id: str) -> Mapping[str, SecretStr]:
        answer = await self._post(kinds.Kind.APP, f"{app_id}/listSecrets")
        # One that is kept in a key vault has no value here.
        return {str(each["name"]): SecretStr(str(each.get("value") or "")) for each in answer.get("value") or ()}

    def share(
        self,
        account: observed.Resource,
        name: str,
        *,
        keys: Callable[[], Awaitable[tuple[SecretStr, ...]]] | None = None,
    ) -> files.ShareSession:
        return files.ShareSession(
            account,
            name,
            keys=keys or (lambda: self.account_keys(account.id)),
            transport=self._session.transport,
            pace=self._pace,
        )

    def lease(self, url: str) -> lease.Lease:
        """The timed lease on the share at `url`. Sends nothing."""
        return lease.Lease(url, cloud=self._session)

    async def check(self, url: str) -> observed.Check:
        return await endpoint.check(self._session.plain(), url)

    async def subscriptions(self) -> tuple[observed.Resource, ...]:
        """Those that the credential reaches."""
        arm_address = (await self._session.endpoints()).arm
        # Any client will do: the address names no subscription.
        client = await self._session.groups(NOWHERE)
        path = f"{arm_address}/subscriptions?api-version=2022-12-01"
        return tuple(observed.Resource(one) for one in await arm.pages(client, path, host=self._session.host))

    async def profile_types(self, subscription: str, location: str) -> tuple[observed.Resource, ...]:
        types = "availableManagedEnvironmentsWorkloadProfileTypes"
        return await self._list(kinds.Kind.ENVIRONMENT, f"{_region(subscription, location)}/{types}")

    async def usages(self, subscription: str, location: str) -> tuple[observed.Resource, ...]:
        return await self._list(kinds.Kind.ENVIRONMENT, f"{_region(subscription, location)}/usages")

    async def environment_usages(self, environment_id: str) -> tuple[observed.Resource, ...]:
        return await self._list(kinds.Kind.ENVIRONMENT, f"{environment_id}/usages")

    async def name_available(self, subscription: str, name: str) -> str | None:
        path = f"/subscriptions/{subscription}/providers/Microsoft.Storage/checkNameAvailability"
        client = await self._client(kinds.Kind.ACCOUNT, path)
        asked = {"name": name, "type": str(kinds.Kind.ACCOUNT)}
        answer = await arm.post(client, path, host=self._session.host, body=asked)
        if answer.get("nameAvailable"):
            return None
        return str(answer.get("message") or answer.get("reason") or "not available")

    async def close(self) -> None:
        await self._session.close()

    async def _list(self, kind: kinds.Kind, path: str) -> tuple[observed.Resource, ...]:
        items = await arm.pages(await self._client(kind, path), path, host=self._session.host)
        return tuple(observed.Resource(item) for item in items)

    async def _post(self, kind: kinds.Kind, path: str) -> arm.Json:
        return await arm.post(await self._client(kind, path), path, host=self._session.host)

    async def _write(self, write: _Write, resource_id: str, body: Mapping[str, Any]) -> None:
        target = ids.parse(resource_id)
        call = write(self._session, target, secret.revealed(body))
        await answers.judged(call, host=self._session.host, secrets=secret.values(body))

    async def _client(self, kind: kinds.Kind, path: str) -> Any:
        """The SDK's client for `kind` in the subscription that `path` names."""
        subscription = ids.subscription(path)
        match kind:
            case kinds.Kind.GROUP:
                return await self._session.groups(subscription)
            case kinds.Kind.ACCOUNT | kinds.Kind.FILE_SERVICE | kinds.Kind.SHARE:
                return await self._session.storage(subscription)
            case kinds.Kind.WORKSPACE:
                return await self._session.workspaces(subscription)
            case kinds.Kind.ENVIRONMENT | kinds.Kind.STORAGE | kinds.Kind.APP | kinds.Kind.REVISION:
                return await self._session.apps(subscription)
        raise ValueError(f"{kind} is no resource of Azure")


def _region(subscription: str, location: str) -> str:
    """What Container Apps offers in a region; `location` in either form, `westus3` or `West US 3`."""
    code = location.lower().replace(" ", "").replace("(", "").replace(")", "")
    return f"/subscriptions/{subscription}/providers/Microsoft.App/locations/{code}"


def connect(cloud: str | None = None, *, credential: AsyncTokenCredential | None = None) -> port.Cloud:
    """`Azure` as the rest of the controller sees it."""
    return Azure(cloud, credential=credential)
