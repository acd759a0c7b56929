"""A gateway's internal API in miniature, on a real socket."""

import contextlib
import http.server
import json
import threading

TOKEN = "the-fleets-token"
CALL = {
    "call_id": "550e8400-e29b",
    "state": "ended",
    "result": "completed",
    "reason": "bot_ended",
    "direction": "INBOUND",
    "from_number": "+919876543210",
    "to_number": "+918047000000",
    "worker_id": "worker-1",
    "created_at_ms": 1_700_000_000_000,
    "ended_at_ms": 1_700_000_012_500,
    "carrier_duration_s": -1,
    "figures": {"first_audio_ms": 412.0},
}
TIMELINE = [
    {"at_ms": 1_700_000_000_000 + at_ms, "source": "worker:w", "event": event, "data": data}
    for at_ms, event, data in [
        (0, "webhook", {"webhook": "answer", "ms": 3}),
        (100, "upgraded", {"headers": ["host", "x-call-uuid"]}),
        (900, "caller_said", {"words": 2, "text": "my secret"}),
        (1000, "digit", {"digit": "7"}),
        (2000, "detached", {"code": 1006, "reason": ""}),
        (3000, "ended", {"reason": "bot_ended", "result": "completed"}),
    ]
]
WORKERS = [
    {
        "worker_id": worker_id,
        "address": "127.0.0.1:1",
        "state": state,
        "capacity": 10,
        "used": used,
        "fresh": fresh,
        "offers": 4,
        "started_at_ms": 1,
    }
    for worker_id, state, used, fresh in [("worker-1", "serving", 1, True), ("worker-2", "draining", 0, False)]
]
QUARANTINE = {
    "bot": "my_bots.sales:bot",
    "since_ms": 1_700_000_000_000,
    "calls": ["c-1", "c-2", "c-3"],
    "workers": ["worker-1", "worker-2"],
    "kept_worker": "",
}
ANSWERS = {
    "/api/calls": {"calls": [CALL]},
    f"/api/calls/{CALL['call_id']}": {"call": CALL, "timeline": TIMELINE},
    f"/api/calls/{CALL['call_id']}/timeline": {"timeline": TIMELINE[2:], "next": 6},
    f"/api/calls/{CALL['call_id']}/end": {"ended": True},
    "/api/workers": {"workers": WORKERS},
    "/api/fleet": {"capacity": 20, "used": 1, "free": 19, "workers": 2, "live_calls": 1},
    "/api/quarantine": {"quarantined": [QUARANTINE]},
    "/api/bots/my_bots.sales%3Abot/release": {"bot": "my_bots.sales:bot", "released": True},
    "/api/bots/nobody%3Abot/release": {"bot": "nobody:bot", "released": False},
    "/readyz": {"readiness": "ready"},
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and path != "/readyz":
            return self.answer(401, {"error": "token"})
        if self.command == "POST" and path == "/api/workers/worker-1/drain":
            self.server.looks_until_gone = 3
            self.server.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return self.answer(200, {"order": "drain", "worker": WORKERS[0]})
        if path == "/api/workers" and hasattr(self.server, "looks_until_gone"):
            return self.answer(200, {"workers": self.draining()})
        if path in ANSWERS:
            return self.answer(200, ANSWERS[path])
        if path.startswith("/api/workers/"):
            return self.answer(404, {"error": "no such worker"})
        if path.startswith("/api/calls/"):
            return self.answer(404, {"error": "no such call"})
        return self.answer(404, "Not Found")

    do_POST = do_GET

    def draining(self):
        """The first worker ends its call, then is started anew under its old id."""
        self.server.looks_until_gone -= 1
        left = self.server.looks_until_gone
        drains = {**WORKERS[0], "state": "draining", "used": int(left > 1), "eta_s": 34 * (left > 1)}
        return [drains if left else {**WORKERS[0], "started_at_ms": 2}, WORKERS[1]]

    def answer(self, status, body):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def api_server():
    """Its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
