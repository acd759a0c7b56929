"""Stands in for gateway, worker or housekeeping: `python fake_process.py ROLE`.

Workers write their address into the working folder and the gateway lists what it finds there; all serve
/readyz. SIGTERM and SIGINT are noted in `events`, one line each, and end the process unless FAKE_STUBBORN names it.
FAKE_CRASH names processes that end at once, until there is a file `mended`; FAKE_LATE those that are never ready;
FAKE_BAD those whose only bot failed; FAKE_HALF_BAD those with one bad bot of two.
"""

import http.server
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

ROLE = sys.argv[1]
NAME = os.environ.get("SFVOPI_WORKER_ID", ROLE) if ROLE == "worker" else ROLE
PORTS = {"gateway": "SFVOPI_GATEWAY_INTERNAL_PORT", "housekeeping": "SFVOPI_HOUSEKEEPING_PORT"}
HERE = Path(os.environ["FAKE_FOLDER"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/readyz":
            bad, half_bad, late = (
                NAME in os.environ.get(name, "") for name in ("FAKE_BAD", "FAKE_HALF_BAD", "FAKE_LATE")
            )
            readiness = "starting" if late else "bot_failed" if bad else "ready"
            failed = {"m:sales": "m.py:7: NameError: name 'x'"} if bad or half_bad else {}
            gateway_id = os.environ.get("SFVOPI_GATEWAY_ID")
            self.answer({"readiness": readiness, "gateway_id": gateway_id, "bot_failed": failed})
        elif self.path == "/api/workers":
            assert self.headers["Authorization"] == f"Bearer {os.environ['SFVOPI_API_TOKEN']}"
            workers = [{"worker_id": p.stem, "address": p.read_text(), "fresh": True} for p in HERE.glob("*.address")]
            self.answer({"workers": workers})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def on_signal(number, _frame):
    with (HERE / "events").open("a") as events:
        events.write(f"{NAME} {signal.Signals(number).name}\n")
    if NAME not in os.environ.get("FAKE_STUBBORN", ""):
        os._exit(0)


def serve():
    """At its port; a gateway on the second of the sockets that it is handed (public, internal)."""
    if ROLE != "gateway":
        port = int(os.environ.get(PORTS.get(ROLE, ""), "0"))
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    assert (os.environ["LISTEN_FDNAMES"], os.environ["LISTEN_PID"]) == ("public:internal", str(os.getpid()))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=4)
    server.socket.setblocking(True)
    return server


def main():
    if NAME in os.environ.get("FAKE_CRASH", "").split(",") and not (HERE / "mended").exists():
        sys.exit("SFVOPI_SOMETHING: is not right")
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    server = serve()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if ROLE == "worker":
        (HERE / f"{NAME}.new").write_text(f"127.0.0.1:{server.server_port}")
        (HERE / f"{NAME}.new").rename(HERE / f"{NAME}.address")
    print(json.dumps({"event": "started", "level": "info", "timestamp": "2025-01-01T10:00:00Z"}), flush=True)
    while True:
        signal.pause()


main()
