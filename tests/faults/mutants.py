"""`make mutants`: bugs sown on purpose, each of which the campaign must see. One that it doesn't see shows a hole.

A mutant is a few lines of the controller replaced in a copy of the tree. One whose lines aren't there any more is an
error: it would test nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("controller", "infra", "inference", "tests", "pyproject.toml")
MOST_SECONDS = 300.0


@dataclass(frozen=True)
class Edit:
    """`old`, which stands in `file` once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug, and what of the campaign can see it: scenarios, and kinds of faults, none for all."""

    named: str
    edits: tuple[Edit, ...]
    scenarios: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        chosen = [f"--scenario={one}" for one in self.scenarios] + [f"--kind={one}" for one in self.kinds]
        rest = ["--pairs=0", "--triples=0", "--sequences=0", "--states=0", "--no-portal", "--seed=1", "--jobs=1"]
        return [sys.executable, "-m", "tests.faults.campaign", "--first", *chosen, *rest]


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the ownership check is skipped",
        (Edit("controller/plan/steps.py", "other = tags.other_owner(owner, live.tags)", "other = None"),),
        ("not-ours",),
        ("refused",),
    ),
    Mutant(
        "a 200 is trusted whose body says Failed",
        (
            Edit(
                "controller/model/observed.py",
                'return str(self.properties.get("provisioningState") or "Succeeded")',
                'said = str(self.properties.get("provisioningState") or "Succeeded")\n'
                '        return "Succeeded" if said in ("Failed", "Canceled") else said',
            ),
        ),
        ("image",),
        ("op-failed",),
    ),
    Mutant(
        "a rotated key is put into the storage that is mounted",
        (
            Edit(
                "controller/model/tags.py",
                'return MountKey(base, keys[0]) if known is None else MountKey(f"{base}-{keys[0][:8]}", keys[0])',
                "return MountKey(base, keys[0])",
            ),
            Edit(
                "controller/plan/stack.py",
                "    made = steps.step(Kind.STORAGE, ids.storage(storage_name(ids, seen)), body, seen.storage)\n",
                "    made = steps.step(Kind.STORAGE, ids.storage(storage_name(ids, seen)), body, seen.storage)\n"
                "    noted = tags.find(tags.STORAGE_KEY, seen.account.tags) if seen.account else None\n"
                "    if seen.storage and key and noted != str(key):\n"
                '        made = replace(made, action=actions.Action("Update", "key", body=body.create))\n',
            ),
        ),
        ("key-rotation",),
        ("refused",),
    ),
    Mutant(
        "what a failed deletion left is given up",
        (
            Edit(
                "controller/leftovers.py",
                "return Result(replace(told(step), state=state, message=verdict.message), pause(verdict))",
                'return Result(replace(told(step), state="Kept", message=verdict.message))',
            ),
        ),
        ("prune",),
        ("refused", "500-before", "503"),
    ),
    Mutant(
        "Retry-After is ignored",
        (
            Edit(
                "controller/cloud/errors.py",
                'for name in ("retry-after-ms", "x-ms-retry-after-ms"):',
                "for name in ():",
            ),
            Edit("controller/cloud/errors.py", 'value = headers.get("retry-after", "")', 'value = ""'),
        ),
        ("scale", "image"),
        ("429-told",),
    ),
    Mutant(
        "a long operation is waited for",
        (
            Edit(
                "controller/cloud/apps.py",
                "await client.container_apps.begin_create_or_update(target.group, app, body, polling=False)",
                "await (await client.container_apps.begin_create_or_update(target.group, app, body)).result()",
            ),
        ),
        ("create",),
        ("refused",),
    ),
    Mutant(
        "a revision suffix is set",
        (
            Edit(
                "controller/plan/workload.py",
                '**properties["template"], "revisionSuffix": None',
                '**properties["template"], "revisionSuffix": "next"',
            ),
        ),
        ("image",),
        ("refused",),
    ),
    Mutant(
        "an empty desired state deletes",
        (Edit("controller/plan/prune.py", "if going and not wanted:", "if False:"),),
        ("emptied",),
        ("refused",),
    ),
    Mutant(
        "a secret is logged",
        (
            Edit(
                "controller/cloud/azure.py",
                "        call = write(",
                '        __import__("structlog").get_logger().info("sent", what=str(secret.revealed(body)))\n'
                "        call = write(",
            ),
        ),
        ("secret-rotation",),
        ("refused",),
    ),
    Mutant(
        "a bundle is taken for whole that was half uploaded",
        (
            Edit("controller/cloud/files.py", "await self._rename(aside, path, length)", "pass"),
            Edit(
                "controller/cloud/files.py",
                'aside = posixpath.join(folder, f".{name[:200]}{_MARK}{secrets.token_hex(4)}")',
                "aside = path",
            ),
        ),
        ("content",),
        ("crash-before", "crash-after"),
    ),
    Mutant(
        "a template is sent although it is equal",
        (
            Edit(
                "controller/plan/workload.py",
                "    if live is None or (made.action is None and live.usable):\n        return made\n",
                "    if made.action is None and live and live.settled:\n"
                '        return replace(made, action=actions.Action("Update", "again", body=_all(whole, live=live)))\n'
                "    if live is None:\n        return made\n",
            ),
        ),
        ("scale",),
        ("refused",),
    ),
    Mutant(
        "the mirror's manifest is written at its end only",
        (Edit("controller/apply.py", "    await share.write(mirror.manifest_path, _manifest(mirror.during))\n", ""),),
        ("mirror-reverted",),
        ("crash-after",),
    ),
    Mutant(
        "secrets of somebody else are left out",
        (
            Edit(
                "controller/plan/workload.py",
                'if "value" in secret or secret["name"] in named or not ours.fullmatch(str(secret["name"]))',
                'if "value" in secret or secret["name"] in named',
            ),
        ),
        ("secret-rotation",),
        ("refused",),
    ),
    Mutant(
        "an unknown 409 is final",
        (Edit("controller/cloud/errors.py", "return _BUSY if status == 409 else _INVALID", "return _INVALID"),),
        ("create",),
        ("409-busy",),
    ),
    Mutant(
        "a 401 is final",
        (Edit("controller/cloud/errors.py", "    if status == 401:", "    if status == 4011:"),),
        ("image",),
        ("401",),
    ),
    Mutant(
        "a read that fails counts as absent",
        (
            Edit(
                "controller/cloud/arm.py",
                "return refused.status == 404 and ",
                "return refused.status in (404, 500, 503) and ",
            ),
        ),
        ("prune-all", "image"),
        ("500-before", "503"),
    ),
    Mutant(
        "traffic is moved before the check has passed",
        (
            Edit(
                "controller/plan/takeover.py",
                "    if judged is None or not isinstance(judged.verdict, outcome.Done):\n",
                "    if judged is None or not isinstance(judged.verdict, outcome.Done | outcome.InProgress):\n",
            ),
        ),
        ("blue-green",),
        ("500-before",),
    ),
    Mutant(
        "a new revision has the traffic of the latest",
        (
            Edit(
                "controller/plan/takeover.py",
                "return Course(run, MULTIPLE, _all_to(stable) if stable else None, notes={tags.ROLLOUT: None})",
                "return Course(run, MULTIPLE, None, notes={tags.ROLLOUT: None})",
            ),
        ),
        ("blue-green",),
        ("500-before",),
    ),
    Mutant(
        "the old revision is stopped before the traffic moved",
        (
            Edit(
                "controller/plan/takeover.py",
                "_all_to(stable) if kept and stable else None, kept=kept, stop=_useless(seen))",
                "_all_to(stable) if kept and stable else None, kept=kept, stop=_others(candidate, seen))",
            ),
        ),
        ("blue-green",),
        ("500-before",),
    ),
    Mutant(
        "a canary's step isn't held",
        (Edit("controller/plan/takeover.py", "        if now < until:\n", "        if now < done.since:\n"),),
        ("canary",),
        ("500-before",),
    ),
    Mutant(
        "a rejection isn't written with the way back",
        (
            Edit(
                "controller/plan/takeover.py",
                'back=back.properties.get("template"), tags=noted, reason=reason, rejection=rejection)',
                'back=back.properties.get("template"), reason=reason, rejection=rejection)',
            ),
        ),
        ("rejected",),
        ("500-before",),
    ),
    Mutant(
        "good answers are counted on over a restart",
        (Edit("controller/judging.py", "(streak.count if _lasted(streak, lives) else 0)", "streak.count"),),
        ("unproven",),
        ("500-before",),
    ),
    Mutant(
        "the bundle of a listed revision is removed",
        (
            Edit(
                "controller/apply.py",
                "if template.bundle_digest(name) not in (None, *action.keep):",
                "if template.bundle_digest(name) is not None:",
            ),
        ),
        ("blue-green",),
        ("500-before",),
    ),
)


@dataclass(frozen=True)
class Caught:
    """What the campaign made of a mutant: `by` the violation, empty for none."""

    mutant: Mutant
    by: str
    seconds: float


def hunt(mutant: Mutant) -> Caught:
    """Run what can see the mutant, on a copy of the tree that has it, to the first violation."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="acaops-mutant-") as folder:
        tree = Path(folder)
        _copy(tree)
        for edit in mutant.edits:
            _sow(tree, edit)
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            mutant.command, cwd=tree, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS, check=False
        )
    if done.returncode not in (0, 1) or (done.returncode and "violation" not in done.stdout):
        raise RuntimeError(f"{mutant.named}: the campaign broke off: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return Caught(mutant, _violation(done.stdout) if done.returncode else "", time.monotonic() - begun)


def _copy(tree: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)


def _sow(tree: Path, edit: Edit) -> None:
    path = tree / edit.file
    text = path.read_text()
    if text.count(edit.old) != 1:
        raise RuntimeError(f"{edit.file} has {text.count(edit.old)} times what a mutant replaces: {edit.old!r}")
    path.write_text(text.replace(edit.old, edit.new))


def _violation(told: str) -> str:
    """The first violation's case and words."""
    lines = told.splitlines()
    for place, line in enumerate(lines):
        if line.startswith("violation: "):
            return line.removeprefix("violation: ")
        if line.startswith("    ") and place and ":" in lines[place - 1]:
            return f"{lines[place - 1]}: {line.strip()}"
    return "a violation"


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.faults.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those with these words in their name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args(given)
    begun, wanted = time.monotonic(), [one for one in MUTANTS if chosen.only in one.named]
    with futures.ThreadPoolExecutor(chosen.jobs) as pool:
        found = list(pool.map(hunt, wanted))
    width = max(len(one.named) for one in wanted)
    for one in found:
        print(f"{one.mutant.named:<{width}}  {one.seconds:4.0f} s  {one.by[:160] or 'NOT CAUGHT'}")
    missed = sum(not one.by for one in found)
    print(f"{len(found) - missed} of {len(found)} mutants caught; {time.monotonic() - begun:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
