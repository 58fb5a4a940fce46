"""What was written outlives the server, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from infra.local_azure import clock
from tests.local_azure.files.service import ACCOUNT, make_service

REPO = Path(__file__).parents[3]

_WRITER = """
import sys
from pathlib import Path
from infra.local_azure import clock
from infra.local_azure.files import shares_on_disk
made = shares_on_disk.SharesOnDisk(Path(sys.argv[1]), clock.ScaledClock(0))
made.create("lab", "data", quota=3, metadata={"owner": "me"})
print(made.get("lab", "data").etag, flush=True)
sys.stdin.read()
"""


async def test_server_stopped_and_started(tmp_path: Path) -> None:
    """Files, metadata, leases and ETags are the same afterwards."""
    first = make_service(tmp_path, clock.ScaledClock(0))
    await first.start()
    async with first.client() as client:
        share = await client.create_share("data", metadata={"owner": "me"})
        file = share.get_file_client("f")
        await file.upload_file(b"kept", metadata={"k": "v"})
        lease = await file.acquire_lease()
        before = await file.get_file_properties()
    await first.stop()

    second = make_service(tmp_path, clock.ScaledClock(0))
    await second.start()
    async with second.client() as client:
        share = client.get_share_client("data")
        file = share.get_file_client("f")
        after = await file.get_file_properties()
        assert (await share.get_share_properties()).metadata == {"owner": "me"}
        assert (after.metadata, after.etag, after.lease.state) == ({"k": "v"}, before.etag, "leased")
        await file.upload_range(b"K", offset=0, length=1, lease=lease.id)
        assert await (await file.download_file()).readall() == b"Kept"
    await second.stop()


def test_killed(tmp_path: Path) -> None:
    """A share that was answered for is there after a SIGKILL; a share half made isn't."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        etag = writer.stdout.readline().strip()
        writer.send_signal(signal.SIGKILL)
    (tmp_path / ACCOUNT / "half" / "files").mkdir(parents=True)
    (tmp_path / ACCOUNT / "half" / "files" / "old").touch()

    service = make_service(tmp_path, clock.ScaledClock(0))
    found = service.shares.get(ACCOUNT, "data")
    assert found is not None
    assert (found.etag, found.quota, found.metadata) == (etag, 3, {"owner": "me"})
    assert service.shares.get(ACCOUNT, "half") is None
    service.shares.create(ACCOUNT, "half", quota=1, metadata={})
    assert os.listdir(service.folder("half")) == []
    service.shares.close()
