"""The carrier before nginx, over TLS as shipped: calls, a reload under them, dead and full workers, a dead gateway."""

import asyncio
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from shared.carrier.call import place_call
from shared.carrier.plan import CallPlan, HangUp, Knobs, Say, Wait, WaitForBot
from shared.carrier.report import CallOutcome, CallReport
from shared.cli.fleet import LocalFleet
from shared.cli.fleet.environment import ROOT
from tests.fakes.providers import FakeProviders
from tests.fakes.tones import caller_speech, heard_voices

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

SLOTS = 2


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate that the carrier trusts."""
    folder = tmp_path / "secrets"
    subprocess.run(["sh", ROOT / "deploy/docker/secrets.sh", folder], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "tls/fullchain.pem"))
    return folder / "tls/fullchain.pem", folder / "tls/privkey.pem"


async def call(fleet: LocalFleet, voice: int, stays_s: float = 0, reconnects: int = 0) -> CallReport:
    plan = CallPlan(
        answer_url=fleet.answer_url,
        fallback_url="",
        hangup_url=fleet.hangup_url,
        call_uuid=f"tls-{uuid4().hex[:8]}",
        steps=(
            WaitForBot(quiet_s=0.6, limit_s=10),
            Wait(stays_s),
            Say(pcm=caller_speech(voice)),
            WaitForBot(quiet_s=0.6, limit_s=10),
            HangUp(),
        ),
        knobs=Knobs(reconnects=reconnects),
        keep_audio=True,
        max_s=60,
    )
    return await place_call(plan)


def is_good(report: CallReport, voice: int) -> bool:
    return report.outcome is CallOutcome.COMPLETED and heard_voices(report.heard_pcm).get(voice, 0) > 0.2


async def test_calls_over_tls_outlive_reloads_and_find_their_way_past_whoever_is_dead_or_full(
    tls: tuple[Path, Path],
) -> None:
    async with (
        FakeProviders(word_s=0.12) as providers,
        LocalFleet(
            gateways=2,
            workers=2,
            media_path="direct",
            tls=tls,
            env={**providers.env, "SFVOPI_CALLS_PER_WORKER": str(SLOTS)},
        ) as fleet,
    ):
        await the_edge_speaks_tls_as_it_should(fleet, tls[0])

        calls = [asyncio.create_task(call(fleet, voice, stays_s=5)) for voice in range(SLOTS)]
        await until_used(fleet, SLOTS)
        fleet.kill("nginx", signal.SIGHUP)
        calls += [asyncio.create_task(call(fleet, voice, stays_s=3)) for voice in range(SLOTS, 2 * SLOTS)]
        await until_used(fleet, 2 * SLOTS)
        refused = await call(fleet, 9)
        assert (refused.outcome, refused.webhook_status) == (CallOutcome.REFUSED, 503), "both workers are full"
        fleet.kill("gateway-2")
        reports = await asyncio.gather(*calls)
        assert [is_good(report, voice) for voice, report in enumerate(reports)] == [True] * 4, reports
        assert not sum(report.reconnects for report in reports), "neither the reload nor the dead gateway cut one"

        lone = asyncio.create_task(call(fleet, 5, stays_s=4, reconnects=3))
        await until_used(fleet, 1)
        busy = next(worker["worker_id"] for worker in await fleet.api.workers() if worker["used"])
        fleet.kill(busy)
        report = await lone
        assert is_good(report, 5), report
        assert report.reconnects == 1, "its carrier brought it back, and nginx found the other worker"
        logged = "".join(path.read_text() for path in fleet.folder.rglob("*.jsonl"))
    assert '"tls":"TLSv1.3"' in logged
    assert "/ws/" not in logged


async def the_edge_speaks_tls_as_it_should(fleet: LocalFleet, certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=certificate)
    async with httpx2.AsyncClient(verify=trusted, trust_env=False) as http:
        nowhere = await http.get(f"{fleet.public_url}/nowhere")
        refused = await http.get(f"{fleet.public_url}/ws/{'x' * 30}", headers={"Connection": "close"})
    assert (nowhere.status_code, refused.status_code) == (404, 401)
    for answer in (nowhere, refused):
        assert answer.headers["strict-transport-security"] == "max-age=63072000"
        assert answer.headers["server"] == "nginx"
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    assert await asyncio.to_thread(agreed, fleet.port, trusted) == ("TLSv1.3", "h2")
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    assert await asyncio.to_thread(agreed, fleet.port, trusted) == ("TLSv1.2", "h2")
    with pytest.deprecated_call():
        trusted.minimum_version = trusted.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(agreed, fleet.port, trusted)


def agreed(port: int, context: ssl.SSLContext) -> tuple[str | None, str | None]:

    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.version(), wrapped.selected_alpn_protocol()


async def until_used(fleet: LocalFleet, calls: int) -> None:
    """Until so many calls have their sessions."""
    async with asyncio.timeout(20):
        while sum(call["state"] == "active" for call in await fleet.api.calls()) < calls:
            await asyncio.sleep(0.05)
