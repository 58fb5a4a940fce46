"""Real git servers on loopback: git's own HTTP backend behind TLS, and an sshd; and a repository to serve by them.

Nothing here reads the developer's own git or ssh configuration.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import ipaddress
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_COMMITTER_NAME": "Committer",
    "GIT_COMMITTER_EMAIL": "committer@example.com",
}

_START_SECONDS = 10


def git(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> str:
    """What git prints, without its last newline."""
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=ENVIRON | dict(environ or {}), check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode().rstrip("\n")


@dataclass
class Upstream:
    """A bare repository, and the work tree that pushes to it. Commits go to `branch` and are pushed at once."""

    bare: Path
    branch: str = "main"

    def __post_init__(self) -> None:
        self.tree = self.bare.with_name(f"{self.bare.name}-work")
        self._ticks = 0
        if not self.bare.exists():
            self.bare.parent.mkdir(parents=True, exist_ok=True)
            git("init", "-q", "--bare", "-b", "main", str(self.bare), cwd=self.bare.parent)
            git("init", "-q", "-b", "main", str(self.tree), cwd=self.bare.parent)
            git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=self.bare)

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    @property
    def sha(self) -> str:
        """The commit that the branch is at."""
        return git("rev-parse", self.branch, cwd=self.bare)

    def commit(
        self,
        files: Mapping[str, str | bytes | None],
        message: str = "A change",
        *,
        sign: Path | None = None,
        author: str = "Ann Author <ann@example.com>",
    ) -> str:
        """Write `files` (None removes one), commit and push. `sign`: the ssh key. Returns the sha."""
        for name, content in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.work("add", "-A")
        return self._record(message, author=author, sign=sign)

    def push(self) -> str:
        """The work tree's HEAD to the branch, by force. Returns the sha."""
        self.work("push", "-q", "--force", str(self.bare), f"HEAD:refs/heads/{self.branch}")
        return self.sha

    def revert(self, sha: str = "HEAD") -> str:
        """Undo one commit by another. Returns the new sha."""
        self.work("revert", "--no-edit", sha)
        return self.push()

    def rewrite(self, files: Mapping[str, str | bytes | None], message: str = "Another history") -> str:
        """Replace the last commit. Returns the new sha."""
        self.work("reset", "-q", "--hard", "HEAD~1")
        return self.commit(files, message)

    def create_branch(self, name: str) -> None:
        """At the branch's commit."""
        git("update-ref", f"refs/heads/{name}", self.sha, cwd=self.bare)

    def delete_branch(self, name: str) -> None:
        git("update-ref", "-d", f"refs/heads/{name}", cwd=self.bare)

    def tag(self, name: str, *, annotated: bool = False) -> None:
        """At the branch's commit."""
        more = ("-a", "-m", f"Release {name}") if annotated else ()
        git("tag", "-f", *more, name, self.sha, cwd=self.bare)

    def work(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """git in the work tree. Each commit is a second younger than the one before."""
        self._ticks += 1
        date = f"{1_790_000_000 + self._ticks} +0000"
        names = {"GIT_AUTHOR_NAME": "Ann Author", "GIT_AUTHOR_EMAIL": "ann@example.com"}
        dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        allowed = ("-c", "protocol.file.allow=always")
        return git(*allowed, *arguments, cwd=self.tree, environ=names | dates | dict(environ or {}))

    def _record(self, message: str, *, author: str, sign: Path | None) -> str:
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={sign}") if sign else ()
        flag = ("-S",) if sign else ()
        self.work(*signing, "commit", "-q", "--allow-empty", "-m", message, f"--author={author}", *flag)
        return self.push()


def make_key(path: Path) -> Path:
    """A new ssh key without a passphrase; its public half is beside it."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, timeout=30)
    return path


def public(key: Path) -> str:
    """The public half of a key, without its comment."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


@dataclass
class Https:
    """`url` is the root's: a repository is `{url}/{name}`. `ca` is what a client has to trust. While `held` is set,
    requests are taken and not answered; `requests` has each one's method and path."""

    url: str
    ca: Path
    username: str | None
    password: str | None
    requests: list[str] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    redirects: dict[str, str] = field(default_factory=dict)
    _open: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> None:
        """Answer nothing from now on; `waiting` is set once a request is there."""
        self.waiting.clear()
        self._open.clear()

    def release(self) -> None:
        self._open.set()


@contextlib.contextmanager
def https_server(
    root: Path, *, certificate: Certificate, username: str | None = None, password: str | None = None
) -> Iterator[Https]:
    """Serve the bare repositories below `root`, to those who know the password where one is set."""
    server = _Server(("127.0.0.1", 0), _Backend)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain)
    server.context = context
    server.root = root
    server.state = Https(f"https://127.0.0.1:{server.server_port}", certificate.ca, username, password)
    server.state.release()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.state
    finally:
        server.state.release()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Certificate:
    """A private authority's certificate, and the server's chain with its key, as files."""

    ca: Path
    chain: Path


def make_certificate(folder: Path) -> Certificate:
    """An authority that nobody else trusts, and a certificate by it for 127.0.0.1 and localhost."""
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ca = _signed(authority, authority, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    leaf = _signed(subject, authority, key, ca_key, names)
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = Certificate(folder / "ca.pem", folder / "server.pem")
    made.ca.write_bytes(ca.public_bytes(pem))
    made.chain.write_bytes(leaf.public_bytes(pem) + secret)
    return made


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - day).not_valid_after(now + day)
    return builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints)).sign(
        by, hashes.SHA256()
    )


class _Server(http.server.ThreadingHTTPServer):
    context: ssl.SSLContext
    root: Path
    state: Https

    def get_request(self) -> tuple[socket.socket, Any]:
        raw, address = self.socket.accept()
        raw.settimeout(30)
        # the handshake is the connection's thread's
        return self.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away, or don't trust us, are part of the tests."""


class _Backend(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _serve(self) -> None:
        state = self.server.state
        body = self._body()
        state.requests.append(f"{self.command} {self.path}")
        if not state._open.is_set():
            state.waiting.set()
            state._open.wait(30)
        for old, new in state.redirects.items():
            if self.path.startswith(old):
                self._answer(302, {"Location": new + self.path.removeprefix(old)}, b"")
                return
        if state.password is not None and self.headers.get("Authorization") != self._expected():
            self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"no\n")
            return
        self._answer(*self._backend(body))

    def _expected(self) -> str:
        state = self.server.state
        return "Basic " + base64.b64encode(f"{state.username}:{state.password}".encode()).decode()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _backend(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        path, _, query = self.path.partition("?")
        environ = {
            **ENVIRON,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, timeout=60)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        return int(headers.pop("Status", "200").split()[0]), headers, content

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@dataclass(frozen=True)
class Ssh:
    """`url` is the file system's root: a repository is `{url}{its absolute path}`. `key` lets one in; `known_hosts`
    has the server's key."""

    url: str
    port: int
    user: str
    key: Path
    known_hosts: Path


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Ssh]:
    """An sshd of the current user's; `folder` holds its files."""
    assert SSHD is not None
    folder.mkdir(parents=True, exist_ok=True)
    host, key = make_key(folder / "host"), make_key(folder / "deploy")
    (folder / "authorized_keys").write_text(f"{public(key)}\n")
    port = _free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nAcceptEnv GIT_PROTOCOL\n"
    )
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {public(host)}\n")
    if os.geteuid() == 0:
        # where sshd of root locks its unprivileged half in
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (folder / "log").open("wb") as log:
        command = [SSHD, "-D", "-e", "-f", str(folder / "config")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _listening(process, port, folder / "log")
        user = pwd.getpwuid(os.geteuid()).pw_name
        yield Ssh(f"ssh://{user}@127.0.0.1:{port}", port, user, key, known)
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"sshd doesn't answer: {log.read_text()}")
