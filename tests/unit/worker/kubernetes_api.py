"""A Kubernetes API server in miniature: HTTPS with a CA of its own, tokens, and merge patches of pods."""

import datetime
import http.server
import ipaddress
import json
import re
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMESPACE = "calls"
FIRST_TOKEN = "the-accounts-first-token"


class KubernetesApi:
    """Pods that can be patched, and what went wrong with each request. `account` is what a pod has mounted."""

    def __init__(self, folder: Path) -> None:
        self.pods: dict[str, dict[str, str]] = {}
        self.token = FIRST_TOKEN
        self.answer_with: list[int] = []  # statuses for the next requests, before anything is looked at
        self.asked = 0
        self.account = folder / "account"
        self.account.mkdir()
        (self.account / "namespace").write_text(f"{NAMESPACE}\n")
        self.write_token(FIRST_TOKEN)
        certificate = make_certificates(folder, self.account / "ca.crt")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._server = self._listen(0)
        self.port: int = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"

    def write_token(self, token: str) -> None:
        """As the kubelet does every hour."""
        (self.account / "token").write_text(token)

    def stop(self) -> None:
        """Nobody listens any more."""
        self._server.shutdown()
        self._server.server_close()

    def start_again(self) -> None:
        self._server = self._listen(self.port)

    def _listen(self, port: int) -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        server.daemon_threads = True
        server.block_on_close = False
        server.socket = self._context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def patch(self, path: str, kind: str, authorization: str, body: bytes) -> int:
        """The status that the real one answers with."""
        self.asked += 1
        if self.answer_with:
            return self.answer_with.pop(0)
        if authorization != f"Bearer {self.token}":
            return 401
        if kind != "application/merge-patch+json":
            return 415
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)", path)
        if not found or found[1] != NAMESPACE:
            return 403  # the Role is for one namespace
        if found[2] not in self.pods:
            return 404
        change = json.loads(body)
        assert set(change) == {"metadata"}
        assert all(isinstance(value, str) for value in change["metadata"]["annotations"].values()), "422 at a real one"
        self.pods[found[2]] |= change["metadata"]["annotations"]
        return 200


def _handler_of(api: KubernetesApi) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def do_PATCH(self) -> None:  # the name that the standard library asks for
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind, authorization = self.headers["Content-Type"], self.headers["Authorization"]
            status = api.patch(self.path, kind, authorization, body)
            answer = json.dumps({"kind": "Status" if status >= 400 else "Pod", "code": status}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def make_certificates(folder: Path, authority: Path) -> Path:
    """A CA at `authority`, and a certificate of 127.0.0.1 with its key, signed by it; returns the latter's file."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster's own")])

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    leaf = builder(name, key.public_key()).add_extension(addresses, critical=False).sign(ca_key, hashes.SHA256())
    authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    both = folder / "server.pem"
    plain = serialization.NoEncryption()
    both.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + leaf.public_bytes(serialization.Encoding.PEM)
    )
    return both
