"""Draw the dashboards of a run as pictures.

    python -m tests.monitoring --save FOLDER
    (cd FOLDER && npm install @grafana/ui @grafana/data react@19 react-dom@19 esbuild)
    python -m tests.monitoring.drawing FOLDER docs/pictures

The charts are Grafana's (@grafana/ui); how panels lie beside each other is our page's, near to Grafana's.
"""

import argparse
import functools
import http.server
import json
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

from PIL import Image

PAGE = Path(__file__).with_name("panels.jsx")
HTML = '<!doctype html><body style="margin:0;background:#111217"><div id="page"></div><script src="panels.js"></script>'
SHELL = "Buffer={from:()=>({}),isBuffer:()=>false};process={env:{NODE_ENV:'production'}};global=globalThis"
ESBUILD = ("--bundle", "--outfile=panels.js", "--loader:.svg=dataurl", "--loader:.woff2=dataurl", "--jsx=transform")
WIDTH, COLOURS, TIME_MS = 1216, 96, 20_000


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def heights(folder: Path) -> dict[str, int]:
    """Of each dashboard's page: as many lines of panels as its widths make."""
    boards: dict[str, int] = {}
    filled: dict[str, int] = {}
    for panel in json.loads((folder / "panels.json").read_text()):
        name, height = panel["board"], 98 if panel["kind"] == "stat" else 238
        boards.setdefault(name, 48)
        if filled.setdefault(name, 24) + panel["width"] > 24:
            filled[name] = 0
            boards[name] += height
        filled[name] += panel["width"]
    return boards


def draw(folder: Path, pictures: Path) -> None:
    """A PNG for each dashboard."""
    (folder / "panels.jsx").write_text(PAGE.read_text())
    define = ('--define:process.env.NODE_ENV="production"', "--define:global=globalThis", f"--banner:js={SHELL}")
    subprocess.run(["node_modules/.bin/esbuild", "panels.jsx", *ESBUILD, *define], cwd=folder, check=True)
    (folder / "index.html").write_text(HTML)
    pictures.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for board, height in heights(folder).items():
            file = (pictures / f"{board.lower().replace(' ', '-')}.png").absolute()
            url = f"http://127.0.0.1:{server.server_port}/?board={quote(board)}"
            size = f"--window-size={WIDTH},{height}"
            wait = f"--virtual-time-budget={TIME_MS}"
            browser = ("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu")
            subprocess.run([*browser, size, wait, f"--screenshot={file}", url], check=True, capture_output=True)
            Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)
            print(file, file.stat().st_size)
        server.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pictures", type=Path)
    given = parser.parse_args()
    draw(given.folder, given.pictures)
