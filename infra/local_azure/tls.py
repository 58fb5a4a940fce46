"""A private certificate authority and the certificates it makes on demand, one for each server name asked.

It owns `ca.pem` and `ca.key` in its folder. It knows nothing of HTTP. Certificates go by the wall clock: a
scaled or a stopped clock has no say here, as the client checks them by its own.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
import tempfile
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local_azure import settings

CA_LIFE = timedelta(days=3650)
# Browsers refuse server certificates that live longer than 398 days.
LEAF_LIFE = timedelta(days=397)
# A client whose clock is a little behind must not find the certificate "not yet valid".
SKEW = timedelta(days=1)
CACHED = 2048
AUTHORITIES = 8
LONGEST_NAME = 253
DEFAULT_NAMES = ("localhost", "*.localhost")
DEFAULT_ADDRESSES = ("127.0.0.1", "::1")
PLAIN = serialization.NoEncryption()


class CertificateAuthority:
    """The authority in `folder`, made on first use; `ca` is the file that clients trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ca = folder / "ca.pem"
        key = folder / "ca.key"
        if not (self.ca.exists() and key.exists()):
            _make(self.ca, key)
        self._issuer = _issuer(self.ca.read_bytes(), key.read_bytes())

    def context(self) -> ssl.SSLContext:
        """A server context: the default certificate, or one for the name that the client asks by SNI."""
        return self._issuer.default


class _Issuer:
    """Certificates by one authority, and the contexts that serve them."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self.default = self._default()

    def _default(self) -> ssl.SSLContext:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in DEFAULT_NAMES]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in DEFAULT_ADDRESSES]
        context = self._serving(names)
        context.sni_callback = self._chosen
        return context

    def _chosen(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        if not name or name.lower() == "localhost":
            return None
        if len(name) > LONGEST_NAME or not name.isascii():
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = self._named(name.lower())
        return None

    def _named(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            self._contexts[name] = self._serving([x509.DNSName(name)])
        self._contexts.move_to_end(name)
        if len(self._contexts) > CACHED:
            self._contexts.popitem(last=False)
        return self._contexts[name]

    def _serving(self, names: list[x509.GeneralName]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        chain = self._leaf(names).public_bytes(serialization.Encoding.PEM)
        # The ssl module reads certificates and keys from files only; this one is gone at once, mode 0600.
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(chain + _pem(self._leaf_key))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _leaf(self, names: list[x509.GeneralName]) -> x509.Certificate:
        now = datetime.now(UTC)
        public = self._leaf_key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(_name("acaops local Azure"))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - SKEW)
            .not_valid_after(now - SKEW + LEAF_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_usage(signing=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(_issuer_key(self._certificate), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@functools.lru_cache(maxsize=AUTHORITIES)
def _issuer(certificate: bytes, key: bytes) -> _Issuer:
    """One for all servers of this process with the same authority: a test starts thousands on copies of one folder."""
    kept = serialization.load_pem_private_key(key, password=None)
    if not isinstance(kept, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an EC key")
    return _Issuer(kept, x509.load_pem_x509_certificate(certificate))


def _make(certificate: Path, key: Path) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    signed = _self_signed(made)
    settings.write_private(key, _pem(made).decode())
    settings.write_private(certificate, signed.public_bytes(serialization.Encoding.PEM).decode())
    os.chmod(certificate, 0o644)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """An authority that strict verification (the default from Python 3.13 on) accepts."""
    now = datetime.now(UTC)
    name = _name("acaops local Azure CA")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signing=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signing: bool) -> x509.KeyUsage:
    """`signing` for a server's key, else the authority's."""
    return x509.KeyUsage(
        digital_signature=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not signing,
        crl_sign=not signing,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    subject = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, PLAIN)
