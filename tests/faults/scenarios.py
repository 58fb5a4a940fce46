"""What the controller is put through: where it starts from, and what is wanted or done to it next.

It uses the desired state and plain requests to Azure only; what may go wrong on the way is not its business.
"""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controller.model import tags
from controller.sources import manifest
from controller.telemetry import log as logs
from infra.local_azure import scenario as played
from tests.faults.world import World
from tests.local_azure.conftest import asking
from tests.reconcile.stack import APP, GROUP, Json, Stack, environment, running
from tests.reconcile.stack import app as whole
from tests.reconcile.test_adoption import made_by_hand

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
PREFIX = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
ACCOUNT = f"{PREFIX}/Microsoft.Storage/storageAccounts/accountone"
CHAT = f"{PREFIX}/Microsoft.App/containerApps/chat"

VARIABLE = "CAMPAIGN_API_KEYS"
THEIRS = "somebody-elses-value-nobody-may-see"
VALUES = ("the-first-value-nobody-may-see", "the-second-value-nobody-may-see")

Effect = Callable[[World], Awaitable[None]]
Check = Callable[[World], Awaitable[list[str]]]
Begin = Callable[[Stack], Awaitable[None]]


@dataclass(frozen=True)
class State:
    """A desired state: its documents, and the content folder `code` beside them. `secret` is the variable's value."""

    documents: tuple[Json, ...]
    code: Mapping[str, bytes] = field(default_factory=lambda: {"app.py": b"print('one')\n"})
    secret: str = VALUES[0]

    @property
    def answers(self) -> int:
        """How often in a row a new release must answer, by the strictest app."""
        checks = [one["spec"].get("rollout", {}).get("check") or {} for one in self.documents]
        return max((check.get("successes", 0) for check in checks), default=0)

    def write(self, root: Path) -> None:
        (root / "desired_state").mkdir(parents=True)
        (root / "desired_state" / "state.yaml").write_text(yaml.safe_dump_all(self.documents))
        _write_code(self.code, root / "code")


@dataclass(frozen=True)
class Step:
    """`effect` is done in Azure, then `state` is wanted. `prunes`: what isn't wanted any more is deleted; `deletes`:
    this is. `stalled` are the objects that are meant to be so at the end, with words that tell why. `hasty`: where the
    controller dies in this step, the next one begins at once."""

    state: State
    effect: Effect | None = None
    prunes: bool = False
    deletes: tags.Owner | None = None
    stalled: Mapping[tuple[str, str], str] = field(default_factory=dict)
    hasty: bool = False


@dataclass(frozen=True)
class Scenario:
    """`start` is wanted and built before it begins, None where nothing was; `hand` makes what is there instead.
    The apps in `ending` are meant to serve no more, those in `pausing` may stop for a while. `plays` is what goes wrong
    with replicas. `check` tells what more must hold at the end. `only` is how the paths of a picture begin that are
    compared: all, or some where history differs. `about` is what stands in the path of each call that is faulted.
    """

    named: str
    start: State | None
    steps: tuple[Step, ...]
    hand: Begin | None = None
    ending: tuple[str, ...] = ()
    pausing: tuple[str, ...] = ()
    plays: tuple[played.Rule, ...] = ()
    about: str = ""
    check: Check | None = None
    only: str = ""


def _write_code(code: Mapping[str, bytes], folder: Path) -> None:
    for name, data in code.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


async def ask(world: World, method: str, path: str, body: Any = None) -> Any:
    async with asking(world.local) as send:
        answer = await send(method, path, body)
        assert answer.status < 300, answer
        return answer.body


async def _rotated(world: World) -> None:
    world.secrets()
    for key in ("key1", "key2"):
        await ask(world, "POST", f"{ACCOUNT}/regenerateKey", {"keyName": key})


async def _drifted(world: World) -> None:
    """Somebody sets another image and a variable in our container, and things of their own beside it."""
    await _edited(world, image="docker.io/library/python:3.12")


async def _joined(world: World) -> None:
    """Somebody adds things of their own."""
    await _edited(world, image=None)


async def _edited(world: World, *, image: str | None) -> None:
    live = await ask(world, "GET", CHAT)
    secrets = (await ask(world, "POST", f"{CHAT}/listSecrets"))["value"]
    template = live["properties"]["template"]
    if image is not None:
        template["containers"][0]["image"] = image
        template["containers"][0]["env"].append({"name": "EXTRA", "value": "1"})
    template["containers"].append({"name": "sidecar", "image": "docker.io/library/busybox:1"})
    configuration = {"secrets": [*secrets, {"name": "theirs", "value": THEIRS}]}
    properties = {"template": template, "configuration": configuration}
    await ask(world, "PATCH", CHAT, {"tags": {"somebody": "was here"}, "properties": properties})
    world.time.advance(120)


async def _theirs_is_left(world: World) -> list[str]:
    """What is wrong with what somebody else added."""
    live = await ask(world, "GET", CHAT)
    secrets = await ask(world, "POST", f"{CHAT}/listSecrets")
    containers = live["properties"]["template"]["containers"]
    kept = {
        "their tag": live["tags"].get("somebody") == "was here",
        "their container": any(one["name"] == "sidecar" for one in containers),
        "their secret": {"name": "theirs", "value": THEIRS} in secrets["value"],
    }
    return [f"{what} is lost" for what, there in kept.items() if not there]


async def _taken(stack: Stack) -> None:
    """Another inventory's app by its tags."""
    await stack.arm("PATCH", CHAT, {"tags": {"acaops-owner": "two/InferenceApp/chat"}})
    await stack.arm("GET", CHAT)


async def _nothing_sent(world: World) -> list[str]:
    return [f"{one} was sent" for one in world.writes()]


def app(name: str = "chat", **spec: Any) -> Json:
    """One that leaves room for another container beside its own."""
    return whole(name, **{"resources": {"cpu": 12, "memory": "100Gi"}, **spec})


def _bytes(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


PLAIN = State((environment(), app()))
SCALED = {"minReplicas": 1, "maxReplicas": 3}
SECRET = {
    "env": [{"name": "MODE", "value": "chat"}, {"name": "API_KEYS", "secretRef": "api-keys"}],
    "secrets": [{"name": "api-keys", "fromEnv": VARIABLE}],
}
MIRRORED = {"release": "Mirror", "commands": ["python -m inference"]}
OLD = {"app.py": b"print('one')\n", "gone/old.py": b"old = 1\n", "same.py": b"same = 1\n"}
NEW = {"app.py": b"print('two')\n", "sub/new.py": _bytes(2 * 16 * 1024, 2), "same.py": b"same = 1\n"}
LARGE = {"app.py": b"print('two')\n", "weights.bin": _bytes(2 * 16 * 1024, 1)}
IMAGE = State((environment(), app(image="docker.io/pytorch/pytorch:2.9.1")))

TWO = State((environment(), app(), app("second")))
TWO_NEXT = State(
    (environment(), app(env=[{"name": "MODE", "value": "two"}]), app("second", env=[{"name": "MODE", "value": "two"}]))
)

DELETED = {"deletionPolicy": "Delete"}
ELSEWHERE = environment(
    resourceGroup="rg-other",
    storage={"accountName": "accountother", "shareName": "models"},
    logAnalytics={"workspaceName": "logs-other"},
    containerApps={"environmentName": "env-other", "storageName": "mount"},
) | {"metadata": {"name": "elsewhere"}}
DOOMED = State((environment(**DELETED), app(**DELETED), ELSEWHERE))

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("create", None, (Step(State((environment(), app(**SECRET)))),)),
    Scenario("adopt", None, (Step(PLAIN),), hand=made_by_hand),
    Scenario("image", PLAIN, (Step(IMAGE),)),
    Scenario("content", PLAIN, (Step(State((environment(), app()), LARGE)),)),
    Scenario(
        "mirror",
        State((environment(), app(**MIRRORED)), OLD),
        (Step(State((environment(), app(**MIRRORED)), NEW)),),
    ),
    Scenario("scale", PLAIN, (Step(State((environment(tags={"team": "one"}), app(scale=SCALED)))),)),
    Scenario("drift", PLAIN, (Step(PLAIN, _drifted),), check=_theirs_is_left),
    Scenario("key-rotation", PLAIN, (Step(PLAIN, _rotated),)),
    Scenario(
        "secret-rotation",
        State((environment(), app(**SECRET))),
        (Step(State((environment(), app(**SECRET)), secret=VALUES[1]), _joined),),
        check=_theirs_is_left,
    ),
    Scenario("two-apps", TWO, (Step(TWO_NEXT),)),
    Scenario(
        "prune",
        State((environment(), app(), app("second", **DELETED))),
        (Step(PLAIN, prunes=True),),
        ending=("second",),
    ),
    Scenario("prune-all", DOOMED, (Step(State((ELSEWHERE,)), prunes=True),), ending=("chat",)),
    Scenario(
        "delete",
        TWO,
        (Step(State((environment(), app("second"))), deletes=tags.Owner("one", "InferenceApp", "chat")),),
        ending=("chat",),
    ),
    Scenario("emptied", DOOMED, (Step(State(()), prunes=True),), check=_nothing_sent),
    Scenario("not-ours", PLAIN, (Step(IMAGE, stalled={APP: "belongs to two"}),), hand=_taken, check=_nothing_sent),
    Scenario(
        "mirror-reverted",
        State((environment(), app(**MIRRORED)), OLD),
        (
            Step(State((environment(), app(**MIRRORED)), NEW), hasty=True),
            Step(State((environment(), app(**MIRRORED)), OLD)),
        ),
        only="file ",
    ),
    Scenario("revert", PLAIN, (Step(IMAGE), Step(PLAIN))),
)

BY_NAME = {scenario.named: scenario for scenario in SCENARIOS}


@dataclass
class Prepared:
    """A scenario on disk: its start, to be copied, and its desired states, loaded."""

    scenario: Scenario
    start: Path
    sources: Sequence[manifest.Source]

    def copy(self, to: Path) -> None:
        shutil.copytree(self.start, to)


async def prepare(scenario: Scenario, root: Path) -> Prepared:
    """Build what the scenario begins with, in `root`; a folder that has it already is used."""
    folder = root / scenario.named
    if not folder.exists():
        making = root / f".{scenario.named}"
        await _build(scenario, making)
        for index, step in enumerate(scenario.steps):
            step.state.write(making / str(index))
        making.rename(folder)
    sources = [manifest.load(folder / str(index) / "desired_state") for index in range(len(scenario.steps))]
    return Prepared(scenario, folder / "azure", sources)


async def _build(scenario: Scenario, root: Path) -> None:
    logs.configure(level="critical", form="json", stream=io.StringIO(), environ={})
    async with running(root) as stack:
        if scenario.start is not None:
            os.environ[VARIABLE] = scenario.start.secret
            shutil.rmtree(stack.code)
            _write_code(scenario.start.code, stack.code)
            stack.write(*scenario.start.documents)
            await stack.converge()
        if scenario.hand is not None:
            await scenario.hand(stack)
