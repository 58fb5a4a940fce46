"""Pure: the words by which a cause is recognised, as tables. Who said them to whom, and what follows, is `diagnosis`'.

How a row is known stands in it. `recorded: <sample>`: the service was seen to say so. `run: <version>`: a program of
that version was seen to print it. `documented: <where>`. `assumed`: Kubernetes' words, or what we expect.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from controller.model.conditions import Reason

ASSUMED = "assumed"


class Source(Enum):
    """Whose words they are: the revision's and its containers' as the service tells them, how a container ended, the
    endpoint's answer, the app's own output, the app's deploymentErrors."""

    REVISION = auto()
    CONTAINER = auto()
    EXIT = auto()
    CHECK = auto()
    LOG = auto()
    APP = auto()


class Row(NamedTuple):
    """Where to look, a regular expression, the code it stands for, how that is known, and what to tell people."""

    sources: tuple[Source, ...]
    pattern: str
    code: str
    known: str
    told: str
    remedy: str = ""


_REVISION, _CONTAINER, _EXIT, _CHECK, _LOG, _APP = ((source,) for source in Source)
_PLATFORM = _REVISION + _CONTAINER
_OUTPUT = _CHECK + _LOG

_MEMORY = "use a profile with more memory, a smaller model or dtype, or a shorter context"
_FILES = "check the path in the app's env, and that the files are on the share in full"
_IMAGE = "check the image's name, and that its registry lets the app pull it"
_SHARE = "check that the share exists, and that the environment storage has a key of its account"
_PROBES = "raise startupBudget, or see why the app doesn't answer"
_SEE_LOG = "see its log"

# fmt: off
HELD: tuple[Row, ...] = (
    Row(_PLATFORM + _APP,
        r"quota of \S+ exceeded|[Qq]uota (?:was |has been |is )?(?:exceeded|reached)|QuotaExceeded",
        Reason.QUOTA_EXCEEDED, ASSUMED,
        "the quota leaves no room for it", "ask for more quota, or free some of it"),
    Row(_PLATFORM,
        r"Unschedulable on legion|Unschedulable: |FailedScheduling|nodes are available: |Insufficient nvidia\.com/gpu",
        Reason.NO_CAPACITY, ASSUMED,
        "it waits for a free GPU or node",
        "it starts by itself once there is one; strategy Recreate never needs a second one"),
    Row(_PLATFORM,
        r"FailedMount|MountVolume|[Ff]ailed to mount |mount error\(\d+\)",
        Reason.MOUNT_FAILED, ASSUMED,
        "the share can't be mounted", _SHARE),
    Row(_PLATFORM,
        r"ImagePullBackOff|ErrImagePull|InvalidImageName|[Ff]ailed to pull ",
        Reason.IMAGE_PULL_FAILED, ASSUMED,
        "the image can't be pulled", _IMAGE),
    # The words are recorded (containerapp-failed-operation-expired); that they stand for an image is not.
    Row(_APP,
        r"Operation expired",
        Reason.IMAGE_PULL_FAILED, ASSUMED,
        "the service gave up on the app's last change, as it does where an image can't be pulled", _IMAGE),
    Row(_EXIT,
        r"OOMKilled",
        Reason.OUT_OF_MEMORY, ASSUMED,
        "the container took more memory than it may", _MEMORY),
)
"""What says at any time what is the matter. Names of apps and containers stand among the words, so a row takes whole
phrases, or words with capitals, which no name has."""

BROKEN: tuple[Row, ...] = (
    Row(_OUTPUT,
        r"OutOfMemoryError\b|(?:CUDA|HIP)(?: error:)? out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        Reason.OUT_OF_MEMORY, "documented: torch.OutOfMemoryError",
        "the model doesn't fit into the GPU's memory", _MEMORY),
    Row(_OUTPUT,
        r"OutOfMemory: |MemoryError\b|can't allocate memory|Cannot allocate memory|std::bad_alloc",
        Reason.OUT_OF_MEMORY, "run: torch 2.13, inference",
        "the app had no memory left", _MEMORY),
    # What an older peft says of a newer adapter's config. The files are there: another version of the library mends
    # it, no other path.
    Row(_OUTPUT,
        r"__init__\(\) got an unexpected keyword argument",
        Reason.COMMAND_FAILED, "run: peft 0.21",
        "a library doesn't know what it was given to load",
        "install the version that the model or adapter was saved with"),
    Row(_OUTPUT,
        r"ModelNotFound: |AdapterInvalid: ",
        Reason.MODEL_NOT_FOUND, "run: inference",
        "the app can't use the model or adapter that it was pointed at", _FILES),
    Row(_OUTPUT,
        r"does not appear to have a file named|is not a local folder and is not a valid model identifier"
        r"|Error no file named .+ found in directory|couldn't find them in the cached files"
        r"|Repo id must (?:be in the form|use alphanumeric)|Should have a `model_type` key in its config\.json",
        Reason.MODEL_NOT_FOUND, "run: transformers 5.23",
        "transformers doesn't find the model where it was told to look", _FILES),
    Row(_OUTPUT,
        r"Incorrect path_or_model_id|is not the path to a directory containing a",
        Reason.MODEL_NOT_FOUND, ASSUMED,
        "transformers doesn't find the model where it was told to look", _FILES),
    Row(_OUTPUT,
        r"RepositoryNotFoundError|EntryNotFoundError|GatedRepoError|trying to access a gated repo",
        Reason.MODEL_NOT_FOUND, "documented: huggingface_hub.errors",
        "the Hugging Face Hub doesn't give the model out",
        "check its name and the token, or put the model on the share"),
    Row(_OUTPUT,
        r"Can't find 'adapter_config\.json' at|Can't find weights for ",
        Reason.MODEL_NOT_FOUND, "run: peft 0.21",
        "peft doesn't find the adapter where it was told to look", _FILES),
    Row(_OUTPUT,
        r"No such file or directory: \S*(?:\.safetensors|\.gguf|\.bin|\.pth?|\.onnx|tokenizer\.model"
        r"|(?:config|tokenizer|\.index)\.json)\b|Error while deserializing header: ",
        Reason.MODEL_NOT_FOUND, "run: safetensors 0.8",
        "a file of the model or adapter is missing or cut short", _FILES),
    Row(_PLATFORM,
        r"The TargetPort \d+ does not match the listening port",
        Reason.PROBE_FAILED, "recorded: containerapp_debug",
        "the app listens on another port than ingress.targetPort", "set targetPort, or have the app listen on PORT"),
    Row(_LOG,
        r"No module named |Could not find a version that satisfies|No matching distribution found",
        Reason.COMMAND_FAILED, "run: python 3.11, pip 24",
        "a Python package is missing", "add it to the requirements that the commands install"),
    Row(_LOG,
        r"\bbash: .*(?:command not found|No such file or directory|[Pp]ermission denied)|can't open file '",
        Reason.COMMAND_FAILED, "run: bash 5, python 3.11",
        "a command isn't there, or may not be run", "check spec.commands, and what the image and the content hold"),
    Row(_LOG,
        r"Torch not compiled with CUDA enabled|Found no NVIDIA driver|No CUDA GPUs are available"
        r"|CUDA driver version is insufficient",
        Reason.COMMAND_FAILED, ASSUMED,
        "the app finds no GPU that it can use", "check workloadProfileName, and that the image's CUDA fits the driver"),
    Row(_OUTPUT,
        r"SettingsInvalid: |LoadFailed: ",
        Reason.COMMAND_FAILED, "run: inference",
        "the app can't start as it is configured", "check spec.env"),
    Row(_PLATFORM,
        r" probe (?:failed|errored)|failed (?:startup|liveness|readiness) probe",
        Reason.PROBE_FAILED, ASSUMED,
        "the platform's probe gets no good answer", _PROBES),
    # A readiness probe alone starts nothing anew.
    Row(_LOG,
        r"(?:Startup|Liveness) probe failed",
        Reason.PROBE_FAILED, ASSUMED,
        "the platform's probe got no good answer, and the container was started anew", _PROBES),
    Row(_LOG,
        r"^Killed$|: (?:line \d+: )? *\d+ Killed\b",
        Reason.OUT_OF_MEMORY, ASSUMED,
        "the process was killed, as the kernel does where memory runs out", _MEMORY),
    # 137: it didn't end on SIGTERM. Where memory ran out the reason is OOMKilled, which is known by then.
    Row(_EXIT,
        r"exit code: (?:137|143)\b",
        Reason.PROBE_FAILED, ASSUMED,
        "the platform ended the container, as it does where a probe fails", _PROBES),
    Row(_EXIT,
        r"Completed, exit code: 0\b",
        Reason.COMMAND_FAILED, "recorded: containerapp_debug",
        "the command came to its end, and a server must not", "have the last command stay in the foreground"),
    Row(_EXIT,
        r"exit code: ",
        Reason.COMMAND_FAILED, "recorded: containerapp_debug",
        "the command ends with an error", _SEE_LOG),
    Row(_PLATFORM,
        r"Container ?[Cc]rashing|Failed:Terminated",
        Reason.COMMAND_FAILED, "recorded: revisions-list-failed",
        "the command ends again and again", _SEE_LOG),
    Row(_CONTAINER,
        r"CrashLoopBackOff|^restarted \d+ times",
        Reason.COMMAND_FAILED, "recorded: containerapp_debug",
        "the command ends again and again", _SEE_LOG),
    Row(_CONTAINER,
        r"CreateContainer(?:Config)?Error|RunContainerError|ContainerCannotRun",
        Reason.COMMAND_FAILED, ASSUMED,
        "the container can't be started as its template says", "check commands, env and secrets"),
    Row(_CHECK,
        r".",
        Reason.PROBE_FAILED, "run: the check",
        "its endpoint doesn't answer as one that serves does", _SEE_LOG),
    Row(_REVISION,
        r"^\w+, Unhealthy, (?:Running|Degraded)$",
        Reason.PROBE_FAILED, ASSUMED,
        "it was ready, and its probes fail now", "see why the app doesn't answer"),
    Row(_CONTAINER,
        r"Container started at",
        Reason.PROBE_FAILED, "recorded: replicas-list",
        "the container runs, and its probes don't find it ready", _PROBES),
    # Recorded as a step on the way; that nothing but the image takes so long is not.
    Row(_CONTAINER,
        r"PullingImage",
        Reason.IMAGE_PULL_FAILED, ASSUMED,
        "the image is still being pulled", "use a smaller image, or one that is nearer"),
    Row(_CONTAINER,
        r"PodInitializing|ContainerCreating",
        Reason.NO_CAPACITY, ASSUMED,
        "the platform hasn't started its container yet", "it starts by itself"),
    Row(_REVISION,
        r"Deployment Progress Deadline Exceeded",
        Reason.PROBE_FAILED, ASSUMED,
        "the platform didn't see it become ready in its time", _PROBES),
)
"""What explains a revision that failed, crashes or is overdue, or whose endpoint doesn't answer. What a program says of
itself comes before how it ended, and that before the platform's general words."""
# fmt: on

UNKNOWN = Row((), "", Reason.UNKNOWN, "", "it isn't ready, and nothing that was said explains it", _SEE_LOG)
