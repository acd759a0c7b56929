"""Draw the dashboards with Grafana's own chart code, from what Prometheus kept of a run: a picture for each.

    python -m tests.monitoring --keep DATA
    python -m tests.monitoring.screenshots DATA docs/dashboards

Each panel's own queries are asked here; `page.jsx` draws. Needs Prometheus, Chromium and npm, which fetches Grafana's
packages into .cache/screenshots.
"""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.documents import ROOT
from tests.monitoring.panels_seen import filled_in
from tests.monitoring.watchers import Watchers, recall

BOARDS = ROOT / "deploy" / "grafana" / "dashboards"
HERE = Path(__file__).parent
PROGRAMS = ("prometheus", "chromium", "npm")
STEP_S = 1.0
WIDTH, CELL_HEIGHT = 1600, 38  # as page.jsx has them
HTML = (
    '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><div id="page"></div>'
    '<script src="shown.js"></script><script src="page.js"></script>'
)
BROWSER = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
TIME_MS = 15_000  # of the page's own clock, which runs ahead while nothing is to do
LIMIT_S = 120


async def answered(watchers: Watchers, board: dict[str, Any], since: float, until: float) -> dict[str, Any]:
    """What the page is given: the dashboard, and with each query of a panel its series."""
    for panel in _panels(board):
        for target in panel.get("targets", ()):
            query = filled_in(target["expr"], until - since)
            found = await watchers.ask("query_range", query=query, start=since, end=until, step=STEP_S)
            target["series"] = found["result"]
    return {"dashboard": board, "from": since, "to": until, "step": STEP_S}


def _panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of collapsed rows too."""
    return [each for panel in board["panels"] for each in (panel, *panel.get("panels", ()))]


def bundle(folder: Path) -> None:
    """`page.js` and `page.css`, with Grafana's packages in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "page.jsx"):
        shutil.copy(HERE / name, folder)
    npm = ("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run(npm, cwd=folder, check=True)
    loaders = (f"--loader:.{kind}=dataurl" for kind in ("svg", "ttf", "woff", "woff2"))
    esbuild = ("node_modules/.bin/esbuild", "page.jsx", "--bundle", "--outfile=page.js", "--jsx=automatic", "--minify")
    define = ('--define:process.env.NODE_ENV="production"', "--define:global=globalThis")
    subprocess.run((*esbuild, *define, *loaders, "--log-level=error"), cwd=folder, check=True)
    (folder / "page.html").write_text(HTML)


def draw(folder: Path, shown: dict[str, Any], picture: Path) -> None:
    """One dashboard. Raises with the page's complaints if it was not drawn to the end."""
    (folder / "shown.js").write_text(f"window.SHOWN = {json.dumps(shown)}")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in _panels(shown["dashboard"]))
    size = f"--window-size={WIDTH},{(rows + 1) * CELL_HEIGHT + 16}"
    page = (folder / "page.html").absolute().as_uri()
    command = (*BROWSER, size, f"--virtual-time-budget={TIME_MS}", f"--screenshot={picture.absolute()}", page)
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S).stderr
    if not re.search("drawn: [1-9]", said):
        raise RuntimeError(f"{picture.name} was not drawn:\n{said}")
    Image.open(picture).convert("RGB").save(picture, optimize=True)
    print(picture, picture.stat().st_size)


async def run(data: Path, pictures: Path) -> None:
    bundle(folder := ROOT / ".cache" / "screenshots")
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        async with recall(Path(name), data) as (watchers, since, until):
            for file in sorted(BOARDS.glob("*.json")):
                shown = await answered(watchers, json.loads(file.read_text()), since, until)
                draw(folder, shown, pictures / f"{file.stem}.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what `python -m tests.monitoring --keep` left")
    parser.add_argument("pictures", type=Path, help="a folder for the PNGs")
    given = parser.parse_args()
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        print(f"NOT RUN: {', '.join(missing)} not installed", file=sys.stderr)
        return 2
    asyncio.run(run(given.data, given.pictures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
