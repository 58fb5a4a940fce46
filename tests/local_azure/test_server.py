"""One port for everything: TLS and plain HTTP, dispatch by host and path, the journal, restarts."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl

import pytest

from infra.local_azure import clock, listener, server, settings

GROUP = "/resourcegroups/lab"
ACCOUNT = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/labstore"
BODY = {"location": "westus3", "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}


async def _names(local, name: str) -> list[tuple[str, str]]:
    """The names in the certificate that a strict client gets for `name`."""
    context = ssl.create_default_context(cafile=str(local.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    _, writer = await asyncio.open_connection("127.0.0.1", local.server.port, ssl=context, server_hostname=name)
    found = writer.get_extra_info("peercert")["subjectAltName"]
    writer.close()
    await writer.wait_closed()
    return found


async def test_certificates_are_made_for_the_name_asked(local) -> None:
    """Verified strictly: the address, localhost, an app's name and Azure's own."""
    assert ("IP Address", "127.0.0.1") in await _names(local, "127.0.0.1")
    assert ("DNS", "localhost") in await _names(local, "localhost")
    for name in ("chat.env.localhost", "labstore.file.core.windows.net", "management.azure.com"):
        assert await _names(local, name) == (("DNS", name),)


async def test_plain_http_is_served_on_the_same_port(local, session) -> None:
    """The same document by either scheme, each naming the scheme it was asked by."""
    path = "/metadata/endpoints?api-version=2022-09-01"
    async with session(local) as asking:
        for scheme in ("http", "https"):
            base = f"{scheme}://127.0.0.1:{local.server.port}"
            async with asking.get(base + path) as answer:
                assert (await answer.json())["resourceManager"] == base


async def test_metadata_is_an_object_or_a_list_by_version(local, session) -> None:
    """az crashes on the wrong one."""
    async with session(local) as asking:
        async with asking.get(f"{local.url}/metadata/endpoints?api-version=2022-09-01") as answer:
            one = await answer.json()
        async with asking.get(f"{local.url}/metadata/endpoints?api-version=2019-05-01") as answer:
            many = await answer.json()
    assert many == [one]
    assert one["authentication"]["loginEndpoint"] == local.url
    assert one["authentication"]["audiences"][0] == local.url


async def test_a_silent_or_broken_client_harms_nobody(local, arm) -> None:
    """Connections that say nothing, hang up or speak nonsense don't stop the others, nor the close."""
    silent = await asyncio.open_connection("127.0.0.1", local.server.port)
    _, gone = await asyncio.open_connection("127.0.0.1", local.server.port)
    gone.close()
    reader, nonsense = await asyncio.open_connection("127.0.0.1", local.server.port)
    nonsense.write(b"\x16\x03\x01\x00\x05hello")
    assert (await reader.read())[:1] in (b"", b"\x15")
    assert (await arm("GET", "/subscriptions")).status == 200
    for writer in (silent[1], gone, nonsense):
        writer.close()


async def test_unknown_paths_are_a_404(local, session) -> None:
    """An account that isn't there has no files."""
    async with session(local) as asking, asking.get(f"{local.url}/nobody/share/file") as answer:
        assert answer.status == 404


async def test_files_answer_at_the_accounts_host_name_too(local, arm, session) -> None:
    """Whatever the suffix, by Host."""
    await arm("PUT", GROUP, {"location": "westus3"})
    await arm("PUT", ACCOUNT, BODY)
    await arm("GET", ACCOUNT)
    headers = {"Host": "labstore.file.core.windows.net"}
    async with session(local) as asking, asking.get(f"{local.url}/share?restype=share", headers=headers) as answer:
        assert answer.headers["x-ms-error-code"] == "NoAuthenticationInformation"


async def test_the_journal_has_every_request_and_no_secrets(state, serve, plain) -> None:
    """In memory and on disk: method, host, path, status, time."""
    async with serve(state, clock.ScaledClock(0)) as local, plain(local) as arm:
        await arm("PUT", GROUP, {"location": "westus3", "tags": {"hidden": "body"}}, probe="hidden")
        await arm("GET", "/resourcegroups/none")
        assert [(each.method, each.status) for each in local.requests] == [("PUT", 201), ("GET", 404)]
        assert [each.path for each in local.writes()] == [f"/subscriptions/{local.subscription}{GROUP}"]
    lines = [json.loads(line) for line in (state / "requests.jsonl").read_text().splitlines()]
    assert [(line["method"], line["status"]) for line in lines] == [("PUT", 201), ("GET", 404)]
    assert set(lines[0]) == {"time", "method", "host", "path", "status"}
    assert "hidden" not in (state / "requests.jsonl").read_text()


async def test_state_and_port_survive_a_restart(state, serve, plain) -> None:
    """Resources, keys and a creation under way, which the next server finishes."""
    first_clock = clock.ManualClock(clock.ScaledClock(1).now())
    async with serve(state, first_clock) as first, plain(first) as arm:
        await arm("PUT", GROUP, {"location": "westus3"})
        await arm("PUT", ACCOUNT, BODY)
        port = first.server.port
    second_clock = clock.ManualClock(first_clock.now())
    async with serve(state, second_clock) as second, plain(second) as arm:
        assert second.server.port == port
        assert (await arm("GET", ACCOUNT)).body["properties"]["provisioningState"] == "Creating"
        second_clock.advance(20)
        assert (await arm("GET", ACCOUNT)).body["properties"]["provisioningState"] == "Succeeded"
        assert (await arm("POST", f"{ACCOUNT}/listKeys")).status == 200
    for name in ("store.db", "ca.key", "identity.json"):
        assert (state / name).stat().st_mode & 0o777 == 0o600


async def test_a_port_in_use_is_named(tmp_path) -> None:
    """And nothing is left open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configured = settings.Settings(state=tmp_path / "azure", port=port, processes=False)
        with pytest.raises(listener.PortInUse, match=f"port {port} "):
            await server.Server(configured, clock.ScaledClock(0)).start()
