"""Request bodies before anything is judged: property names in any casing, and JSON merge patch.

Recorded: `Name` was accepted for `name` in an environment's workload profile.
"""

from __future__ import annotations

from typing import Any

from infra.local_azure import wire

_NAMES = """
location tags identity type principalId tenantId userAssignedIdentities properties kind managedBy extendedLocation name
environmentId managedEnvironmentId workloadProfileName configuration template
activeRevisionsMode secrets registries ingress maxInactiveRevisions dapr runtime service identitySettings targetLabel
revisionTransitionThreshold value keyVaultUrl server username passwordSecretRef
fqdn external targetPort exposedPort transport traffic customDomains allowInsecure ipSecurityRestrictions corsPolicy
clientCertificateMode stickySessions additionalPortMappings targetPortHttpScheme affinity
revisionName weight latestRevision label action description ipAddressRange
revisionSuffix terminationGracePeriodSeconds containers initContainers scale volumes serviceBinds
image command args env resources volumeMounts probes cpu memory ephemeralStorage gpu secretRef
volumeName mountPath subPath storageType storageName mountOptions path
httpGet tcpSocket host port scheme httpHeaders initialDelaySeconds periodSeconds timeoutSeconds successThreshold
failureThreshold minReplicas maxReplicas cooldownPeriod pollingInterval rules http tcp custom azureQueue auth
appLogsConfiguration destination logAnalyticsConfiguration customerId sharedKey workloadProfiles workloadProfileType
minimumCount maximumCount enableFips zoneRedundant vnetConfiguration infrastructureSubnetId internal dockerBridgeCidr
platformReservedCidr platformReservedDnsIP infrastructureResourceGroup peerAuthentication mtls enabled
peerTrafficConfiguration encryption publicNetworkAccess customDomainConfiguration dnsSuffix daprAIInstrumentationKey
daprAIConnectionString kedaConfiguration daprConfiguration ingressConfiguration openTelemetryConfiguration
appInsightsConfiguration diskEncryptionConfiguration availabilityZones
azureFile accountName accountKey accessMode shareName
"""

_CANONICAL = {name.lower(): name for name in _NAMES.split()}
_FREE = frozenset({"tags", "userAssignedIdentities", "metadata"})
_LISTS = """
secrets registries traffic customDomains ipSecurityRestrictions additionalPortMappings identitySettings containers
initContainers volumes env volumeMounts probes httpHeaders rules workloadProfiles command args
"""
_OBJECTS = """
properties configuration template ingress scale resources httpGet tcpSocket userAssignedIdentities
appLogsConfiguration logAnalyticsConfiguration vnetConfiguration peerAuthentication mtls peerTrafficConfiguration
encryption customDomainConfiguration azureFile stickySessions tags
"""
_OF_TEXT = frozenset({"command", "args"})
_SHAPES = dict.fromkeys(_LISTS.split(), list) | dict.fromkeys(_OBJECTS.split(), dict)


def canonical(value: Any) -> Any:
    """`value` with every known property name in its own casing; maps with the user's own keys stay as they are.

    Raises ARM's 400 where a known list isn't one, or a known object isn't one.
    """
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if not isinstance(value, dict):
        return value
    named: dict[str, Any] = {_own_casing(str(key)): item for key, item in value.items()}
    for name, item in named.items():
        _check_shape(name, item)
    return {name: item if name in _FREE else canonical(item) for name, item in named.items()}


def _own_casing(name: str) -> str:
    return _CANONICAL.get(name.lower(), name)


def _check_shape(name: str, value: Any) -> None:
    shape = _SHAPES.get(name)
    if value is None or shape is None:
        return
    inside = str if name in _OF_TEXT else dict
    if not isinstance(value, shape) or (shape is list and not all(isinstance(item, inside) for item in value)):
        message = f"The request content was invalid and could not be deserialized: '{name}'."
        raise wire.ArmError(400, "InvalidRequestContent", message, gateway=True)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: objects merge, null removes, anything else (arrays too) replaces (recorded: PATCH of apps)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def present(value: dict[str, Any]) -> dict[str, Any]:
    """`value` without its null members: a null and an absent member mean the same (recorded)."""
    return {key: item for key, item in value.items() if item is not None}
