"""Which cause is named for what was said, by whom it was said, and when nothing is wrong yet."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller import causes, diagnosis
from controller.causes import Source
from controller.model import observed
from controller.model.conditions import Reason
from tests.unit import answers

RUNNING, STARTING = (observed.Resource(one) for one in answers.revisions_starting())
CRASHING = observed.Resource(answers.revisions_crashing()[1])
REPLICAS = tuple(observed.Resource(one) for one in answers.replicas())
EXPIRED = observed.Resource(answers.app_expired())

WAITING = "Container is waiting with reason: "
ENDED = "Container was terminated with reason: "
LOOPING = f"{WAITING}CrashLoopBackOff on legion."
STARTED = "Container started at: 11/20/2026 8:16:12 AM."
NO_GPU = f"{WAITING}Unschedulable on legion. 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
CHECK = "GET https://chat.example/readyz"


def revision(**properties: Any) -> observed.Resource:
    return observed.Resource({**STARTING.body, "properties": {**STARTING.properties, **properties}})


def replica(details: str, *, restarts: int = 0, ready: bool = False, **properties: Any) -> observed.Resource:
    container = {"name": "chat", "ready": ready, "restartCount": restarts, "runningStateDetails": details}
    facts = {"createdTime": "2026-11-20T08:16:00Z", "runningStateDetails": "", "containers": [container]}
    return observed.Resource({"name": "chat--1-5c9d7f6b84-x2kqp", "properties": {**facts, **properties}})


def checked(message: str, *, status: int | None = 503, conclusive: bool = True) -> observed.Check:
    return observed.Check(status=status, release=None, message=message, conclusive=conclusive)


def found(evidence: diagnosis.Evidence) -> diagnosis.Cause:
    cause = diagnosis.of(evidence)
    assert cause is not None
    return cause


def crashed(*log: str, details: str = LOOPING) -> diagnosis.Evidence:
    return diagnosis.Evidence(CRASHING, (replica(details, restarts=3),), log=log)


# Nothing is wrong


@pytest.mark.parametrize(
    "evidence",
    [
        diagnosis.Evidence(RUNNING),
        diagnosis.Evidence(RUNNING, check=checked("200", status=200)),
        diagnosis.Evidence(RUNNING, check=checked("401", status=401, conclusive=False)),
        diagnosis.Evidence(RUNNING, REPLICAS, app=EXPIRED, overdue=True),
        diagnosis.Evidence(RUNNING, (replica(NO_GPU), replica(STARTED, ready=True))),
        diagnosis.Evidence(STARTING),
        diagnosis.Evidence(STARTING, REPLICAS),
        diagnosis.Evidence(STARTING, (observed.Resource({}),)),
        diagnosis.Evidence(STARTING, (replica(f"{WAITING}PodInitializing."),)),
        diagnosis.Evidence(STARTING, (replica(f"{WAITING}PullingImage on legion."),)),
        diagnosis.Evidence(STARTING, (replica(f"{ENDED}Error, exit code: 1.", restarts=1),)),
        diagnosis.Evidence(STARTING, (replica(STARTED, restarts=5, ready=True),)),
        diagnosis.Evidence(STARTING, (replica(NO_GPU, ready=True),)),
        diagnosis.Evidence(STARTING, check=checked("connection refused", status=None)),
        diagnosis.Evidence(revision(provisioningState="Provisioning", runningState="Processing")),
        diagnosis.Evidence(revision(provisioningState="Provisioning", healthState="Healthy")),
        diagnosis.Evidence(STARTING, app=observed.Resource(answers.app_rolling_out())),
        diagnosis.Evidence(revision(runningStateDetails="The TargetPort 80 does not match the listening port 81.")),
    ],
)
def test_nothing_is_wrong_with_what_serves_or_is_on_its_way(evidence: diagnosis.Evidence) -> None:
    """A replica more that waits for a GPU, one exit, an answer from somebody in front of the app: none is a cause."""
    assert diagnosis.of(evidence) is None


# What waits


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (NO_GPU, Reason.NO_CAPACITY),
        (
            f"{WAITING}Unschedulable on legion. quota of ManagedEnvironmentConsumptionT4Gpus exceeded.",
            Reason.QUOTA_EXCEEDED,
        ),
        (f"{WAITING}ImagePullBackOff on legion. Failed to pull image 'docker.io/none'.", Reason.IMAGE_PULL_FAILED),
        (f"{WAITING}ErrImagePull on legion.", Reason.IMAGE_PULL_FAILED),
        (f"{WAITING}FailedMount on legion. mount error(13): Permission denied", Reason.MOUNT_FAILED),
        (f'{WAITING}MountVolume.SetUp failed for volume "content": …', Reason.MOUNT_FAILED),
    ],
)
def test_what_keeps_a_container_from_starting(words: str, code: str) -> None:
    """It is named at once, by assumed words that it quotes, and speaks against no release."""
    cause = found(diagnosis.Evidence(STARTING, (replica(words),)))

    assert (cause.code, cause.assumed, diagnosis.waits(cause)) == (code, True, True)
    assert words.rstrip(".") in cause.message
    assert words in cause.evidence


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ("0/1 replicas ready. Unschedulable: insufficient nvidia.com/gpu.", Reason.NO_CAPACITY),
        (
            "0/1 replicas ready. Unschedulable: quota of SubscriptionDedicatedNCA100Gpus exceeded.",
            Reason.QUOTA_EXCEEDED,
        ),
    ],
)
def test_a_revision_that_waits_says_so_itself(details: str, code: str) -> None:
    """Its replicas need not be listed."""
    assert found(diagnosis.Evidence(revision(runningStateDetails=details))).code == code


def test_an_operation_that_expired() -> None:
    """Most likely for the image; a container's own words come first."""
    assert found(diagnosis.Evidence(STARTING, app=EXPIRED)).code == Reason.IMAGE_PULL_FAILED
    assert found(diagnosis.Evidence(STARTING, (replica(NO_GPU),), app=EXPIRED)).code == Reason.NO_CAPACITY


def test_names_are_no_causes() -> None:
    """Of apps, revisions, containers and images."""
    words = "1/1 Container crashing: probe-failed-imagepullbackoff-mountvolume-oomkilled-quota"

    cause = found(diagnosis.Evidence(revision(runningState="Failed", runningStateDetails=words)))

    assert cause.code == Reason.COMMAND_FAILED


# What crashes


@pytest.mark.parametrize(
    ("words", "code", "assumed"),
    [
        ("1/1 Container crashing: aiacamountokxj5", Reason.COMMAND_FAILED, False),
        ("Failed:phi3ContainerCrashing", Reason.COMMAND_FAILED, False),
        ("Failed:Terminated", Reason.COMMAND_FAILED, False),
        (
            "1/1 Container crashing: phi3. The TargetPort 8080 does not match the listening port 80.",
            Reason.PROBE_FAILED,
            False,
        ),
        ("Startup probe failed: connection refused", Reason.PROBE_FAILED, True),
        ("Deployment Progress Deadline Exceeded. 0/1 replicas ready.", Reason.PROBE_FAILED, True),
        ("ImagePullBackOff", Reason.IMAGE_PULL_FAILED, True),
        ("something else", Reason.UNKNOWN, False),
        ("", Reason.UNKNOWN, False),
    ],
)
def test_a_revision_that_failed(words: str, code: str, assumed: bool) -> None:
    """By the platform's own words, where there are no others."""
    live = revision(provisioningState="Failed", healthState="Unhealthy", runningStateDetails=words)

    cause = found(diagnosis.Evidence(live))

    assert (cause.code, cause.assumed) == (code, assumed)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (LOOPING, Reason.COMMAND_FAILED),
        (f"{ENDED}Completed, exit code: 0.", Reason.COMMAND_FAILED),
        (f"{ENDED}Error, exit code: 1.", Reason.COMMAND_FAILED),
        (f"{ENDED}Error, exit code: 137.", Reason.PROBE_FAILED),
        (f"{ENDED}OOMKilled, exit code: 137.", Reason.OUT_OF_MEMORY),
        (f"{ENDED}Error, exit code: 143.", Reason.PROBE_FAILED),
        (f"{WAITING}CreateContainerConfigError on legion.", Reason.COMMAND_FAILED),
        (STARTED, Reason.COMMAND_FAILED),
    ],
)
def test_how_a_container_ended(words: str, code: str) -> None:
    """Started anew again and again: it counts as crashing while it runs, too."""
    assert found(diagnosis.Evidence(STARTING, (replica(words, restarts=2),))).code == code


def test_memory_that_ran_out_is_known_at_once() -> None:
    """The next start needs as much; and the words are gone with it."""
    cause = found(diagnosis.Evidence(STARTING, (replica(f"{ENDED}OOMKilled, exit code: 137."),)))

    assert (cause.code, diagnosis.waits(cause)) == (Reason.OUT_OF_MEMORY, False)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has …", Reason.OUT_OF_MEMORY),
        ("RuntimeError: CUDA error: out of memory", Reason.OUT_OF_MEMORY),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes.", Reason.OUT_OF_MEMORY),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.11 PiB", Reason.OUT_OF_MEMORY),
        ("OutOfMemory: no memory left while loading", Reason.OUT_OF_MEMORY),
        ("Killed", Reason.OUT_OF_MEMORY),
        ("/bin/bash: line 3:    17 Killed                  python -m inference", Reason.OUT_OF_MEMORY),
        ("bash: 15739 Killed                  python -m inference", Reason.OUT_OF_MEMORY),
        ("ModelNotFound: BASE_MODEL_DIR /mount/x is not a folder", Reason.MODEL_NOT_FOUND),
        ("AdapterInvalid: ADAPTER_DIR /mount/a has no adapter_config.json", Reason.MODEL_NOT_FOUND),
        ("OSError: ./m does not appear to have a file named config.json. Checkout …", Reason.MODEL_NOT_FOUND),
        ("OSError: x/y is not a local folder and is not a valid model identifier listed on …", Reason.MODEL_NOT_FOUND),
        (
            "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory ./m.",
            Reason.MODEL_NOT_FOUND,
        ),
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
            "cached files.",
            Reason.MODEL_NOT_FOUND,
        ),
        (
            "OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/mount/none/phi3'.",
            Reason.MODEL_NOT_FOUND,
        ),
        ("ValueError: Unrecognized model in ./m. Should have a `model_type` key in its config.json.",
         Reason.MODEL_NOT_FOUND),
        ("OSError: Incorrect path_or_model_id: '/mount/x'.", Reason.MODEL_NOT_FOUND),
        ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", Reason.MODEL_NOT_FOUND),
        ("ValueError: Can't find 'adapter_config.json' at '/mount/a'", Reason.MODEL_NOT_FOUND),
        ("FileNotFoundError: No such file or directory: /mount/none/model.safetensors", Reason.MODEL_NOT_FOUND),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/mount/x/config.json'", Reason.MODEL_NOT_FOUND),
        ("SafetensorError: Error while deserializing header: header too small", Reason.MODEL_NOT_FOUND),
        ("TypeError: LoraConfig.__init__() got an unexpected keyword argument 'zzz'", Reason.COMMAND_FAILED),
        (
            "AdapterInvalid: /a does not fit the base model: LoraConfig.__init__() got an unexpected keyword argument",
            Reason.COMMAND_FAILED,
        ),
        ("ModuleNotFoundError: No module named 'peft'", Reason.COMMAND_FAILED),
        ("ERROR: No matching distribution found for nonepkg", Reason.COMMAND_FAILED),
        ("/bin/bash: line 1: cd: /none: No such file or directory", Reason.COMMAND_FAILED),
        ("python: can't open file '/tmp/x.py': [Errno 2] No such file or directory", Reason.COMMAND_FAILED),
        ("AssertionError: Torch not compiled with CUDA enabled", Reason.COMMAND_FAILED),
        ("SettingsInvalid: DTYPE must be one of …", Reason.COMMAND_FAILED),
        ("Startup probe failed: connection refused; the container is restarted", Reason.PROBE_FAILED),
        ("no longer ready: Readiness probe failed: HTTP 500", Reason.COMMAND_FAILED),
        ("Killed three zombies, all is well", Reason.COMMAND_FAILED),
        ("opened /mount/x/config.json", Reason.COMMAND_FAILED),
    ],
)  # fmt: skip
def test_what_the_log_of_a_crash_says(line: str, code: str) -> None:
    """It comes before the platform's words, wherever it stands in the log; what it rests on is quoted."""
    cause = found(crashed("starting", line, "Traceback …", ""))

    assert cause.code == code
    assert (line.rstrip(".") in cause.message) == (line in cause.evidence)


def test_a_log_alone_is_no_cause() -> None:
    """It is read where something is wrong; of what serves it may say anything."""
    assert diagnosis.of(diagnosis.Evidence(RUNNING, log=("CUDA out of memory",))) is None


def test_words_are_looked_at_by_their_source() -> None:
    """What a program prints isn't the platform's word."""
    log = (
        "ImagePullBackOff",
        "OOMKilled",
        "quota of X exceeded",
        "The TargetPort 1 does not match the listening port 2.",
    )

    assert found(crashed(*log)).code == Reason.COMMAND_FAILED


def test_the_order_of_causes() -> None:
    """Memory before files, files before probes, probes before exits, and of one row's lines the newest."""
    lines = ["Killed", "Liveness probe failed: HTTP 500", "ModelNotFound: one", "ModelNotFound: two", "OutOfMemory: x"]
    codes = [found(crashed(*lines[:count], details=f"{ENDED}Error, exit code: 1.")).code for count in range(6)]
    assert codes == [
        Reason.COMMAND_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.PROBE_FAILED,
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_NOT_FOUND,
        Reason.OUT_OF_MEMORY,
    ]
    assert "ModelNotFound: two" in found(crashed(*lines[:4])).message
    assert found(diagnosis.Evidence(CRASHING, (replica(NO_GPU),), log=("OutOfMemory: x",))).code == Reason.NO_CAPACITY


# What runs and isn't ready


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (STARTED, Reason.PROBE_FAILED),
        (f"{WAITING}PullingImage on legion.", Reason.IMAGE_PULL_FAILED),
        (f"{WAITING}PodInitializing.", Reason.NO_CAPACITY),
        (f"{ENDED}Error, exit code: 1.", Reason.COMMAND_FAILED),
        ("", Reason.UNKNOWN),
    ],
)
def test_what_is_overdue(words: str, code: str) -> None:
    """What is fine on the way is a cause once its time is up; a log says as much, being read for that."""
    overdue = diagnosis.Evidence(STARTING, (replica(words),), overdue=True)

    assert found(overdue).code == code
    assert found(replace(overdue, overdue=False, log=("loading …",))).code == code


def test_what_was_ready_and_is_no_longer() -> None:
    """Its probes fail."""
    live = revision(healthState="Unhealthy", runningState="Degraded")

    cause = found(diagnosis.Evidence(live, (replica(STARTED),)))

    assert (cause.code, cause.assumed) == (Reason.PROBE_FAILED, True)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("connection refused", None, Reason.PROBE_FAILED),
        ("no answer within 10 s", None, Reason.PROBE_FAILED),
        ("answered 500", 500, Reason.PROBE_FAILED),
        ('answered 503: {"ready": false, "reason": "ModelNotFound: …"}', 503, Reason.MODEL_NOT_FOUND),
        ('answered 503: {"ready": false, "reason": "OutOfMemory: …"}', 503, Reason.OUT_OF_MEMORY),
        ('answered 503: {"ready": false, "reason": "LoadFailed: …"}', 503, Reason.COMMAND_FAILED),
    ],
)
def test_what_the_endpoint_answers(message: str, status: int | None, code: str) -> None:
    """Healthy by the platform's word, and not by its own."""
    cause = found(diagnosis.Evidence(RUNNING, check=checked(f"{CHECK} {message}", status=status)))

    assert (cause.code, cause.assumed) == (code, False)
    assert f"{CHECK} {message}" in cause.evidence


# What is told


def test_a_message_is_a_sentence_with_the_words_and_the_remedy() -> None:
    """And the evidence is everybody's words, each once, what decided first."""
    cause = found(crashed("one", "OutOfMemory: x", "two"))

    assert cause == diagnosis.Cause(
        Reason.OUT_OF_MEMORY,
        "the app had no memory left: OutOfMemory: x; use a profile with more memory, a smaller model or dtype, or a "
        "shorter context",
        (
            "OutOfMemory: x",
            "1/1 Container crashing: aiacamountokxj5",
            "Container crashing: aiacamountokxj5",
            "Failed, Unhealthy, Failed",
            LOOPING,
            "restarted 3 times",
            "two",
        ),
        assumed=False,
    )


def test_a_cause_nobody_knows() -> None:
    """Its evidence is all there is to tell."""
    cause = found(diagnosis.Evidence(STARTING, overdue=True))

    assert cause.message == "it isn't ready, and nothing that was said explains it; see its log"
    assert cause.evidence == ("Provisioned, None, Activating",)


@pytest.mark.parametrize(("before", "after"), [(0, 5000), (5000, 0), (5000, 5000)])
def test_of_a_long_line_the_part_that_matters(before: int, after: int) -> None:
    """A traceback may stand in one line of JSON."""
    cause = found(crashed(f"{'a' * before} ModelNotFound: x {'b' * after}"))

    (quoted,) = [words for words in cause.evidence if "ModelNotFound: x" in words]
    assert len(quoted) <= diagnosis.LONGEST + 2
    assert (quoted.startswith("…"), quoted.endswith("…")) == (bool(before), bool(after))


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ('{"event": "load_failed", "reason": "ModelNotFound: x"}', "ModelNotFound: x"),
        ('{"level": 3, "ModelNotFound: x": "y"}', '{"level": 3, "ModelNotFound: x": "y"}'),
        ('{"reason": "ModelNotFound: x"', '{"reason": "ModelNotFound: x"'),
    ],
)
def test_of_an_object_the_value_that_matters(line: str, quoted: str) -> None:
    """As many apps log; the line stays among the evidence."""
    cause = found(crashed(line))

    assert f"pointed at: {quoted}; " in cause.message
    assert {quoted, line} <= set(cause.evidence)


def test_evidence_is_bounded() -> None:
    """However many replicas there are."""
    many = tuple(replica(f"{WAITING}CrashLoopBackOff on node {number}.") for number in range(100))

    assert len(found(diagnosis.Evidence(CRASHING, many)).evidence) == diagnosis.MOST


# The tables


def test_every_code_has_a_row() -> None:
    """And each row says how it is known."""
    rows = (*causes.HELD, *causes.BROKEN)
    assert {row.code for row in rows} | {causes.UNKNOWN.code} == {
        Reason.QUOTA_EXCEEDED,
        Reason.NO_CAPACITY,
        Reason.IMAGE_PULL_FAILED,
        Reason.MOUNT_FAILED,
        Reason.COMMAND_FAILED,
        Reason.PROBE_FAILED,
        Reason.MODEL_NOT_FOUND,
        Reason.OUT_OF_MEMORY,
        Reason.UNKNOWN,
    }
    for row in rows:
        assert row.sources
        assert re.fullmatch(r"assumed|(?:recorded|run|documented): \S.*", row.known)
    assert {source for row in rows for source in row.sources} == set(Source)


@pytest.mark.parametrize(
    ("library", "file", "words"),
    [
        ("transformers", "utils/hub.py", "does not appear to have a file named"),
        ("transformers", "utils/hub.py", "is not a local folder and is not a valid model identifier"),
        ("transformers", "utils/hub.py", "couldn't find them in the"),
        ("transformers", "modeling_utils.py", "Error no file named"),
        ("transformers", "models/auto/configuration_auto.py", "Should have a `model_type` key in its"),
        ("huggingface_hub", "utils/_validators.py", "Repo id must be in the form"),
        ("huggingface_hub", "utils/_validators.py", "Repo id must use alphanumeric"),
        ("huggingface_hub", "errors.py", "class RepositoryNotFoundError"),
        ("huggingface_hub", "errors.py", "class EntryNotFoundError"),
        ("huggingface_hub", "errors.py", "class GatedRepoError"),
        ("peft", "config.py", "Can't find '{CONFIG_NAME}' at"),
        ("peft", "utils/save_and_load.py", "Can't find weights for"),
        ("torch", "cuda/__init__.py", "Torch not compiled with CUDA enabled"),
    ],
)
def test_the_libraries_still_say_so(library: str, file: str, words: str) -> None:
    """The rows take their words from the versions that are installed here."""
    found = importlib.util.find_spec(library)
    assert found is not None
    assert found.origin is not None
    assert words in (Path(found.origin).parent / file).read_text()


# When it started


@pytest.mark.parametrize(
    ("replicas", "moment"),
    [
        ((), None),
        ((observed.Resource({}),), None),
        (REPLICAS, datetime(2026, 11, 20, 8, 16, 12, tzinfo=UTC)),
        ((replica("Container started at: 5/24/2025 4:35:31 PM."),), datetime(2025, 5, 24, 16, 35, 31, tzinfo=UTC)),
        ((replica("Container started at: 5/24/2025 12:00:00 AM."),), datetime(2025, 5, 24, tzinfo=UTC)),
        ((replica("Container started at: 2025-05-24T16:35:31Z."),), datetime(2025, 5, 24, 16, 35, 31, tzinfo=UTC)),
        ((replica("Container started at: noon."),), None),
        ((replica(f"{WAITING}PodInitializing."),), None),
        ((replica(STARTED), replica("Container started at: 11/20/2026 8:16:05 AM.")),
         datetime(2026, 11, 20, 8, 16, 5, tzinfo=UTC)),
        ((replica(STARTED, restarts=1),), datetime(2026, 11, 20, 8, 16, tzinfo=UTC)),
        ((replica(LOOPING),), datetime(2026, 11, 20, 8, 16, tzinfo=UTC)),
        ((replica(f"{ENDED}Error, exit code: 1."),), datetime(2026, 11, 20, 8, 16, tzinfo=UTC)),
        ((replica(LOOPING, createdTime=None),), None),
    ],
)  # fmt: skip
def test_when_the_first_container_started(replicas: tuple[observed.Resource, ...], moment: datetime | None) -> None:
    """In the service's words, or since its replica was created, where it was started anew; None while none did."""
    assert diagnosis.started(replicas) == moment


@pytest.mark.parametrize(
    ("replicas", "moment"),
    [
        ((), None),
        ((replica(STARTED),), None),
        ((replica(LOOPING, restarts=1),), None),
        ((replica("Container started at: noon.", restarts=1),), None),
        ((replica(STARTED, restarts=1), replica("Container started at: 11/20/2026 8:16:20 AM.", restarts=2)),
         datetime(2026, 11, 20, 8, 16, 20, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_when_the_last_container_was_started_anew(
    replicas: tuple[observed.Resource, ...], moment: datetime | None
) -> None:
    """Of those that were restarted, in the service's words; None where there is none."""
    assert diagnosis.restarted(replicas) == moment
