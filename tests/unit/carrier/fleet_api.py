"""A gateway's internal API that says of every call what a test wants it to."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

Answer = dict[str, Any] | None


class Api:
    """`looks` are the answers to one question after another, the last one for good; None: the call is not known."""

    def __init__(self, *looks: Answer) -> None:
        self.looks = list(looks)
        self.asked: list[str] = []
        self.url = ""

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def call(result: str = "", reason: str = "", detail: str = "", *entries: tuple[str, dict[str, Any]]) -> Answer:
    """A call that one worker had, with these entries of that worker; without a reason it goes on."""
    record = {"result": result, "reason": reason, "detail": detail, "worker_id": "w-1", "attachments": 1}
    timeline = [
        {"at_ms": n, "source": "worker:w-1", "event": event, "data": data} for n, (event, data) in enumerate(entries)
    ]
    return {"call": record, "timeline": timeline}


@contextlib.contextmanager
def fleet_api(*looks: Answer) -> Iterator[Api]:
    """It, listening."""
    api = Api(*looks)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = api.answer(self.path)
            body = json.dumps(found or {"error": "no such call"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=[0.02])
        thread.start()
        api.url = f"http://127.0.0.1:{listening.server_port}"
        try:
            yield api
        finally:
            listening.shutdown()
            thread.join()
