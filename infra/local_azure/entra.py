"""The token service: client credentials, workload assertions and managed identities.

It mints and checks tokens; it doesn't know what they give access to. Tokens have the form of a JWT signed with
a key kept in the state folder, so they stay good over a restart. They are opaque to clients, as Entra's are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from infra.local_azure import clock, settings, wire

# Documented: the default lifetime of an app-only token without CAE is about an hour; clients refresh at 300 s.
LIFETIME = 3599
# Tokens whose signature need not be checked again.
MOST_KNOWN = 1000
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ADFS = "adfs"
STORAGE = re.compile(r"https://(storage\.azure\.com|[a-z0-9]{3,24}\.file\.core\.[a-z0-9.:]+)")
SHARED_TENANTS = ("common", "organizations")


@dataclass(frozen=True)
class Claims:
    """What a good token says. `audience` without trailing slash; times in seconds since the epoch."""

    audience: str
    client_id: str
    object_id: str
    expires: int


class _Refused(Exception):
    """An OAuth error answer, with an AADSTS number in its description."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number
        self.message = message


class Authority:
    """One tenant with one service principal."""

    def __init__(self, identity: settings.Identity, time: clock.Clock) -> None:
        self._identity = identity
        self._time = time
        self._known: dict[str, Claims] = {}

    def issue(self, audience: str, *, issuer: str = "") -> str:
        """A token for `audience`, good for LIFETIME seconds."""
        now = int(self._time.now().timestamp())
        claims = {
            "aud": audience.rstrip("/"),
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "appid": self._identity.client_id,
            "oid": self._identity.object_id,
            "tid": self._identity.tenant,
            "uti": uuid.uuid4().hex,
            "ver": "2.0",
        }
        signed = f"{_pack({'alg': 'HS256', 'typ': 'JWT'})}.{_pack(claims)}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> Claims | None:
        """The claims of a token this server signed, expired or not; None for any other."""
        if token in self._known:
            return self._known[token]
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        claims = json.loads(_unpack(signed.partition(".")[2]))
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        known = Claims(claims["aud"], claims["appid"], claims["oid"], claims["exp"])
        self._known[token] = known
        return known

    def opens_files(self, token: str) -> bool:
        """Whether `token` is good for Azure Files: in time, and meant for storage (documented audiences)."""
        claims = self.read(token)
        if claims is None or claims.expires <= self._time.now().timestamp():
            return False
        return STORAGE.fullmatch(claims.audience) is not None

    def authenticate(self, header: str | None, audiences: Collection[str]) -> Claims:
        """The caller behind an Authorization header; raises ARM's 401 (documented: its error codes).

        `audiences` are those accepted, without trailing slash.
        """
        if not header:
            raise self._unauthorized(
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
                "The authentication failed because of missing 'Authorization' header.",
            )
        scheme, _, token = header.partition(" ")
        claims = self.read(token.strip()) if scheme.lower() == "bearer" else None
        if claims is None:
            message = "The access token is invalid."
            raise self._unauthorized("InvalidAuthenticationToken", message, message)
        now = self._time.now()
        if claims.expires <= now.timestamp():
            expiry = datetime.fromtimestamp(claims.expires, UTC)
            message = (
                f"The access token expiry UTC time '{expiry:%m/%d/%Y %I:%M:%S %p}' is earlier than "
                f"current UTC time '{now:%m/%d/%Y %I:%M:%S %p}'."
            )
            raise self._unauthorized("ExpiredAuthenticationToken", message, message)
        if claims.audience not in audiences:
            allowed = ",".join(f"'{name}'" for name in sorted(audiences))
            message = (
                f"The access token has been obtained for wrong audience or resource '{claims.audience}'. "
                f"It should exactly match with one of the allowed audiences {allowed}."
            )
            raise self._unauthorized("InvalidAuthenticationTokenAudience", message, message)
        return claims

    async def token(self, request: web.BaseRequest, tenant: str) -> web.Response:
        """POST /{tenant}/oauth2/v2.0/token."""
        form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        try:
            audience = self._grant(tenant, form)
        except _Refused as refused:
            return self._refusal(refused)
        body = {
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "ext_expires_in": LIFETIME,
            "access_token": self.issue(audience, issuer=f"{request.scheme}://{request.host}/{tenant}/v2.0"),
        }
        return web.json_response(body, headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"})

    def openid(self, base: str, tenant: str) -> web.Response:
        """The discovery document of a tenant; `base` is this server as the client wrote it."""
        if not self._knows(tenant) and tenant not in SHARED_TENANTS:
            return self._refusal(self._unknown_tenant(tenant))
        root = f"{base}/{tenant}"
        return web.json_response(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{root}/discovery/v2.0/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "response_types_supported": ["code", "id_token", "code id_token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
            }
        )

    def instance(self, base: str) -> web.Response:
        """Instance discovery: where the tenant's own document lies."""
        tenant = self._identity.tenant
        return web.json_response(
            {"tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/.well-known/openid-configuration"}
        )

    def managed_identity(self, request: web.BaseRequest) -> web.Response:
        """A token for a workload's own identity: the endpoint of Container Apps, or IMDS by its path.

        One identity serves them all: the selectors must name it (client id) or any identity (resource id);
        assumed, as this Azure keeps no identity resources.
        """
        query = request.query
        resource = query.get("resource")
        imds = request.path.startswith("/metadata/")
        proof = request.headers.get("Metadata", "").lower() == "true" if imds else self._knows_header(request)
        if not proof or query.get("client_id", self._identity.client_id) != self._identity.client_id:
            return web.json_response({"statusCode": 401, "message": "No managed identity"}, status=401)
        selector = query.get("mi_res_id") or query.get("resource_id") or query.get("msi_res_id")
        if not resource or (selector and "/userassignedidentities/" not in selector.lower()):
            return web.json_response({"statusCode": 400, "message": "Invalid resource or identity"}, status=400)
        body = {
            "access_token": self.issue(resource),
            "expires_on": str(int(self._time.now().timestamp()) + LIFETIME),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": self._identity.client_id,
        }
        return web.json_response(body | ({"expires_in": str(LIFETIME)} if imds else {}))

    def _knows_header(self, request: web.BaseRequest) -> bool:
        sent = request.headers.get("X-IDENTITY-HEADER", "")
        return hmac.compare_digest(sent.encode(), self._identity.identity_header.encode())

    def _knows(self, tenant: str) -> bool:
        return tenant.lower() in (self._identity.tenant.lower(), ADFS)

    def _grant(self, tenant: str, form: Mapping[str, str]) -> str:
        """The audience that the token request in `form` is good for; raises _Refused."""
        if not self._knows(tenant):
            raise self._unknown_tenant(tenant)
        for name in ("grant_type", "client_id", "scope"):
            if not form.get(name):
                message = f"The request body must contain the following parameter: '{name}'."
                raise _Refused(400, "invalid_request", 900144, message)
        if form["grant_type"] != "client_credentials":
            message = f"The app requested an unsupported grant type '{form['grant_type']}'."
            raise _Refused(400, "unsupported_grant_type", 70003, message)
        if form["client_id"].lower() != self._identity.client_id:
            message = f"Application with identifier '{form['client_id']}' was not found in the directory '{tenant}'."
            raise _Refused(400, "unauthorized_client", 700016, message)
        self._prove(form)
        audience, _, permission = form["scope"].rpartition("/")
        if permission != ".default" or not audience:
            message = (
                f"The provided value for scope {form['scope']} is not valid. Client credential flows must have a "
                "scope value with /.default suffixed to the resource identifier (application ID URI)."
            )
            raise _Refused(400, "invalid_scope", 1002012, message)
        return audience

    def _prove(self, form: Mapping[str, str]) -> None:
        """Check the secret. An assertion of a workload identity is taken at its word: no issuer is known here."""
        if form.get("client_assertion", "").strip() and form.get("client_assertion_type") == ASSERTION:
            return
        sent = form.get("client_secret")
        if sent is None:
            message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."
            raise _Refused(401, "invalid_client", 7000218, message)
        if not hmac.compare_digest(sent.encode(), self._identity.client_secret.encode()):
            message = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{form['client_id']}'."
            )
            raise _Refused(401, "invalid_client", 7000215, message)

    @staticmethod
    def _unknown_tenant(tenant: str) -> _Refused:
        message = (
            f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into "
            "the correct cloud. Check with your subscription administrator, this may happen if there are no active "
            "subscriptions for the tenant."
        )
        return _Refused(400, "invalid_request", 90002, message)

    def _refusal(self, refused: _Refused) -> web.Response:
        """Documented: the error answer of the token endpoint."""
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        now = f"{self._time.now():%Y-%m-%d %H:%M:%SZ}"
        description = (
            f"AADSTS{refused.number}: {refused.message} "
            f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
        )
        body = {
            "error": refused.error,
            "error_description": description,
            "error_codes": [refused.number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        }
        return web.json_response(body, status=refused.status)

    def _unauthorized(self, code: str, message: str, description: str) -> wire.ArmError:
        challenge = (
            f'Bearer authorization_uri="https://login.windows.net/{self._identity.tenant}", '
            f'error="invalid_token", error_description="{description}"'
        )
        return wire.ArmError(401, code, message, gateway=True, headers={"WWW-Authenticate": challenge})

    def _signature(self, text: str) -> str:
        key = bytes.fromhex(self._identity.signing_key)
        return _base64(hmac.new(key, text.encode(), hashlib.sha256).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _pack(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
