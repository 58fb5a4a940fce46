"""Whether a commit is signed by somebody who may. ssh signatures only: their signers stand in one file, which is read
each time. Only the commit itself is judged, not its history."""

from __future__ import annotations

import os
import re
from pathlib import Path

from controller.model.commit import Commit
from controller.sources import git, mirror

_SSH = "-----BEGIN SSH SIGNATURE-----"
_GOOD = re.compile(r'^Good "git" signature for .+ with ', re.MULTILINE)
_STRANGER = re.compile(r'^Good "git" signature with (?P<key>\S+ key \S+)', re.MULTILINE)


async def verify(ours: mirror.Mirror, commit: Commit, *, signers: Path) -> None:
    """Raises FetchError (Unsigned) with the commit, its author and why."""
    problem = await _problem(ours, commit.sha, signers)
    if problem:
        text = f"commit {commit.sha[:12]} ({commit.subject[:80]!r} by {commit.author}) isn't applied: {problem}"
        raise git.FetchError(git.Reason.UNSIGNED, text)


async def _problem(ours: mirror.Mirror, sha: str, signers: Path) -> str | None:
    if not os.access(signers, os.R_OK):
        return f"the signers' file {signers} can't be read"
    if wrong := _form((await ours.run("cat-file", "commit", sha)).output):
        return wrong
    done = await ours.run("verify-commit", sha, access=git.Access(_config(signers)), answers=(0, 1, 128))
    if done.status == 0 and _GOOD.search(done.errors):
        return None
    if stranger := _STRANGER.search(done.errors):
        return f"its signer, {stranger['key']}, isn't in {signers}"
    return f"its signature isn't good: {git.failure(done.errors, otherwise=git.Reason.UNSIGNED)}"


def _config(signers: Path) -> dict[str, str]:
    return {
        "gpg.format": "ssh",
        "gpg.ssh.allowedSignersFile": os.path.abspath(signers),
        "gpg.ssh.program": "ssh-keygen",
        "gpg.minTrustLevel": "fully",
        "gpg.openpgp.program": "false",
        "gpg.x509.program": "false",
    }


def _form(text: str) -> str | None:
    """What is wrong with a commit's signature before anybody looks at who signed."""
    header = text.partition("\n\n")[0].splitlines()
    signed = [line.partition(" ")[2] for line in header if line.startswith(("gpgsig ", "gpgsig-sha256 "))]
    if not signed:
        return "it isn't signed"
    return None if signed == [_SSH] else "it isn't signed by ssh, the only kind of signature that counts"
