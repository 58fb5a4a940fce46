"""Conditions after kstatus, and the closed list of reasons.

Ready is always there. Reconciling and Stalled are there only when True, and never both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"


class Reason:
    """Constants used as `reason` in outcomes, conditions, events and metrics."""

    READY = "Ready"
    PROVISIONING = "Provisioning"
    PROGRESSING = "Progressing"
    ROLLING_OUT = "RollingOut"
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    OPERATION_IN_PROGRESS = "OperationInProgress"
    THROTTLED = "Throttled"
    CONFLICT = "Conflict"
    AZURE_ERROR = "AzureError"
    CONNECTION_FAILED = "ConnectionFailed"
    TIMEOUT = "Timeout"
    INTERNAL_ERROR = "InternalError"
    INVALID_DESIRED_STATE = "InvalidDesiredState"
    INVALID_CONTENT = "InvalidContent"
    INVALID_REQUEST = "InvalidRequest"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    FORBIDDEN = "Forbidden"
    SUBSCRIPTION_NOT_FOUND = "SubscriptionNotFound"
    QUOTA_EXCEEDED = "QuotaExceeded"
    IMMUTABLE_FIELD = "ImmutableField"
    OWNED_BY_OTHER = "OwnedByOther"
    GUARDED = "Guarded"
    PROVISIONING_FAILED = "ProvisioningFailed"
    COMMAND_FAILED = "CommandFailed"
    PROBE_FAILED = "ProbeFailed"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    MOUNT_FAILED = "MountFailed"
    MODEL_NOT_FOUND = "ModelNotFound"
    OUT_OF_MEMORY = "OutOfMemory"
    NO_CAPACITY = "NoCapacity"
    UNKNOWN = "Unknown"
    REJECTED = "Rejected"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CHECK_FAILED = "CheckFailed"
    SECRET_NOT_FOUND = "SecretNotFound"
    CIRCUIT_OPEN = "CircuitOpen"
    REGISTERING = "Registering"
    NOT_REGISTERED = "NotRegistered"
    NOT_FOUND = "NotFound"
    SUSPENDED = "Suspended"
    NOT_LEADER = "NotLeader"


@dataclass(frozen=True)
class Condition:
    """`status` is True, False or Unknown. `revision` is the source revision the condition speaks of."""

    type: str
    status: str
    reason: str
    message: str
    revision: str
    changed: datetime
