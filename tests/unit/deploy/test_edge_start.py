"""edge.sh as the edge's container runs it, with the environment of its manifest, around a real nginx."""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.cli.fleet import nginx
from shared.cli.fleet.ports import free_port
from tests.unit.deploy.manifests import FOLDER, as_written, environment_of
from tests.unit.worker.kubernetes_api import make_certificates

pytestmark = pytest.mark.skipif(shutil.which("envsubst") is None, reason="no envsubst here (gettext): edge.sh needs it")


class Edge:
    """One container's worth of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        self.certificates = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, **changes: str) -> None:
        (container,) = as_written().pods()["sfvopi-edge"]["spec"]["containers"]
        given = environment_of(container, as_written())
        run, tls = self.folder / "run", self.folder / "tls"
        run.mkdir()
        self.write_certificate()
        moved = {
            name: value.replace("/etc/sfvopi/tls", str(tls))
            .replace("/run/nginx", str(run))
            .replace("8443", str(self.port))
            for name, value in given.items()
        }
        moved |= {name: value.replace("sfvopi-gateway", "127.0.0.1") for name, value in moved.items()}
        moved |= {"NGINX_TEMPLATE": str(FOLDER.parent / "nginx" / "nginx.conf.template"), "CERTIFICATE_LOOK_S": "0.1"}
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        wrapper = bin_folder / "nginx"  # as root its workers could not read this test's folder
        user = "" if os.geteuid() else '-g "user root;"'
        wrapper.write_text(f'#!/bin/sh\nexec {nginx.nginx_binary()} {user} "$@"\n')
        wrapper.chmod(0o755)
        environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", **moved, **changes}
        with self.log.open("wb") as sink:
            self.process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                str(FOLDER / "base" / "edge.sh"),
                env=environment,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        await self.until(lambda: nginx.is_listening(self.port))

    def write_certificate(self) -> None:
        """As the kubelet does it: a new folder, and a link that leads to it from one moment to the next."""
        self.certificates += 1
        there, link = self.folder / f"tls-{self.certificates}", self.folder / "link"
        there.mkdir()
        both = make_certificates(there, there / "ca.crt").read_text()
        key, end, certificate = both.partition("-----END PRIVATE KEY-----\n")
        (there / "tls.key").write_text(key + end)
        (there / "tls.crt").write_text(certificate)
        link.symlink_to(there)
        link.replace(self.folder / "tls")

    def shown(self) -> str:
        """The certificate that it shows."""
        return ssl.get_server_certificate(("127.0.0.1", self.port)).strip()

    def kept(self) -> str:
        return (self.folder / "tls" / "tls.crt").read_text().strip()

    async def until(self, condition: Callable[[], bool], deadline_s: float = 15) -> None:
        assert self.process is not None
        async with asyncio.timeout(deadline_s):
            while not await asyncio.to_thread(condition):
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path)
    yield edge
    if edge.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(edge.process.pid, signal.SIGKILL)
        await edge.process.wait()


async def ask(port: int, secure: bool) -> bytes:
    context = ssl._create_unverified_context() if secure else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: bots.example.com\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_it_fills_the_template_in_and_is_the_containers_first_process(edge: Edge) -> None:
    await edge.start()
    written = (edge.folder / "run" / "nginx.conf").read_text()
    assert "${" not in written, "the template wants a variable that deploy/k8s/base/edge.yaml does not set"
    assert int((edge.folder / "run" / "nginx.pid").read_text()) == edge.process.pid
    assert b" 404 " in (await ask(edge.port, secure=True)).splitlines()[0]
    await edge.until(lambda: '"status":404' in edge.log.read_text())  # requests are told on standard output


async def test_a_new_certificate_is_shown_without_a_restart(edge: Edge) -> None:
    await edge.start()
    assert edge.shown() == edge.kept()
    pid = edge.process.pid
    edge.write_certificate()
    await edge.until(lambda: edge.shown() == edge.kept())
    assert int((edge.folder / "run" / "nginx.pid").read_text()) == pid


async def test_sigquit_ends_it_when_the_last_stream_is_over(edge: Edge) -> None:
    await edge.start()
    context = ssl._create_unverified_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, ssl=context)
    writer.write(b"GET /nothing HTTP/1.1\r\nHost: bots.example.com\r\n")  # a request that is not at its end
    await writer.drain()
    await asyncio.sleep(0.3)
    edge.process.send_signal(signal.SIGQUIT)
    await edge.until(lambda: not nginx.is_listening(edge.port))
    assert edge.process.returncode is None
    writer.write(b"\r\n")
    assert b" 404 " in await reader.readline()
    writer.close()
    assert await asyncio.wait_for(edge.process.wait(), 15) == 0


async def test_a_trial_has_no_certificate(edge: Edge) -> None:
    await edge.start(NGINX_LISTEN=str(edge.port), NGINX_TLS="", CERTIFICATE="")
    answer: Any = await ask(edge.port, secure=False)
    assert b" 404 " in answer.splitlines()[0]
