"""`python -m tests.bench.guide --port P [--no-smart-turn]`: the guide's server, one uvicorn process."""

import argparse

import uvicorn

from tests.bench.guide.app import make_app

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--no-smart-turn", action="store_true")
    given = parser.parse_args()
    app = make_app(f"ws://127.0.0.1:{given.port}/ws", has_smart_turn=not given.no_smart_turn)
    uvicorn.run(app, host="127.0.0.1", port=given.port)
