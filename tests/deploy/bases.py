"""Images of others: pulled, or, where no registry can be reached, stand-ins made of Debian packages.

A stand-in has what docker-compose.yml asks of the image it stands for, and no more. Of Grafana there is none.
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.engine import Engine, NoEngine
from tests.deploy.shell import CommandFailed, run, say

PULLED = "python:3.13-slim"
PREFIX = "sfvopi-stand-in"
SUITE = "trixie"  # its Python is 3.13
CLEAN = "&& rm -rf /var/lib/apt/lists/*"
NGINX_ENTRYPOINT = """#!/bin/sh
set -eu
names=$(env | sed -n 's/^\\(NGINX_[A-Z_]*\\)=.*/${\\1}/p' | tr '\\n' ' ')
for template in /etc/nginx/templates/*.template; do
  envsubst "$names" < "$template" > "$NGINX_ENVSUBST_OUTPUT_DIR/$(basename "$template" .template)"
done
exec "$@"
"""
STAND_INS = {
    "NGINX_IMAGE": (
        "nginx gettext-base",
        'COPY --chmod=755 entrypoint.sh /\nENTRYPOINT ["/entrypoint.sh"]\nSTOPSIGNAL SIGQUIT',
    ),
    "REDIS_IMAGE": ("redis-server", 'WORKDIR /data\nCMD ["redis-server"]'),
    "PROMETHEUS_IMAGE": ("prometheus", 'ENTRYPOINT ["prometheus"]'),
    "ALERTMANAGER_IMAGE": ("prometheus-alertmanager", 'ENTRYPOINT ["prometheus-alertmanager"]'),
}


@contextmanager
def images_of_others(engine: Engine, folder: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Variables for docker-compose.yml, and the services that are left out. Raises `NoEngine`."""
    try:
        engine.docker("pull", PULLED, within_s=120)
    except CommandFailed as failed:
        say(f"no registry can be reached: stand-ins from Debian ({str(failed).splitlines()[-1][:120]})")
    else:
        yield {}, []
        return
    names = {"PYTHON_IMAGE": f"{PREFIX}-python"} | {name: image_of(name) for name in STAND_INS}
    try:
        make_python(engine, folder, names["PYTHON_IMAGE"])
        try_one(engine, names["PYTHON_IMAGE"])
        for name in STAND_INS:
            make(engine, folder, name, names["PYTHON_IMAGE"])
        yield names, ["grafana"]
    finally:
        if not engine.is_ours:
            for image in names.values():
                forget(engine, image)


def try_one(engine: Engine, image: str) -> None:
    """An engine may start where no container can. Raises `NoEngine`."""
    try:
        engine.docker("run", "--rm", "--network", "none", image, "true", within_s=60)
    except CommandFailed as failed:
        raise NoEngine(f"it runs, and no container does: {str(failed).splitlines()[-1]}") from None


def image_of(variable: str) -> str:
    return f"{PREFIX}-{variable.removesuffix('_IMAGE').lower()}"


def forget(engine: Engine, image: str) -> None:
    try:
        engine.docker("image", "rm", "--force", image)
    except CommandFailed as failed:
        say(f"{image} stays: {str(failed).splitlines()[-1]}")


def make_python(engine: Engine, folder: Path, image: str) -> None:
    """A Debian with Python 3.13, from the mirror that this machine itself uses."""
    root = folder / SUITE
    include = "--include=ca-certificates,python3,python3-venv,python3-pip"
    try:
        run(["debootstrap", "--variant=minbase", include, SUITE, str(root), mirror()])
    except CommandFailed as failed:
        raise NoEngine(f"no base image: it could neither be pulled nor made ({failed})") from None
    certificates = Path("etc/ssl/certs/ca-certificates.crt")
    (root / certificates).write_bytes((Path("/") / certificates).read_bytes())
    (root / "usr/bin/python").symlink_to("python3")
    for cached in (root / "var/cache/apt/archives").glob("*.deb"):
        cached.unlink()
    packed = folder / f"{SUITE}.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(root, ".")
    engine.docker("import", "--change", 'CMD ["python3"]', str(packed), image)
    packed.unlink()
    say(f"made {image}")


def mirror() -> str:
    """Where this machine gets its Debian packages from."""
    source = Path("/etc/apt/sources.list.d/debian.sources")
    lines = source.read_text().splitlines() if source.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith("URIs:")]
    if not found:
        raise NoEngine("no base image: none can be pulled, and this is no Debian to make one from")
    return found[0]


def make(engine: Engine, folder: Path, variable: str, base: str) -> None:
    packages, rest = STAND_INS[variable]
    context = folder / image_of(variable)
    context.mkdir()
    (context / "entrypoint.sh").write_text(NGINX_ENTRYPOINT)
    install = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}"
    (context / "Dockerfile").write_text(f"FROM {base}\nRUN {install} {CLEAN}\n{rest}\n")
    engine.docker("buildx", "build", "--quiet", "--tag", image_of(variable), os.fspath(context))
    say(f"made {image_of(variable)}")
