"""The call of docs/carrier.md that is placed from Python."""

import asyncio

from tests.documents import python_block


async def test_it_reconnects_and_tells_of_two_streams_and_two_hangups(server, capsys):
    code = python_block("carrier.md", "place_call(plan)").replace("http://127.0.0.1:3000/webhook", f"{server.url}/hook")
    await asyncio.to_thread(exec, compile(code, "carrier.md", "exec"), {})
    outcome, _, *told = capsys.readouterr().out.split(maxsplit=2)
    assert outcome == "completed"
    assert told[0].endswith("[200, 200]\n")
    assert len({stream.stream_id for stream in server.streams}) == 2
    assert [message["digit"] for stream in server.streams for message in stream.of("dtmf")] == ["1"]
