"""`sfvopi calls`, `calls show`, `wire`, `workers`, `end` against an API on a real socket."""

import json
import os
import stat

from shared.cli.calls import tell_quarantine
from shared.cli.reach import RunFile
from tests.unit.cli.api_server import ANSWERS, CALL, QUARANTINE, TOKEN, WORKERS


def test_calls_are_listed_with_how_they_ended(sfvopi, api):
    result = sfvopi("calls")
    assert result.exit_code == 0
    assert CALL["call_id"] in result.stdout
    assert "completed: bot_ended" in result.stdout
    assert "12.5 s" in result.stdout


def test_calls_as_json_are_what_the_api_says(sfvopi, api):
    assert json.loads(sfvopi("calls", "--json").stdout) == [CALL]


def test_a_call_is_shown_with_its_figures_and_its_timeline(sfvopi, api):
    result = sfvopi("calls", "show", CALL["call_id"])
    assert result.exit_code == 0
    assert "first_audio_ms       412" in result.stdout
    assert "caller: my secret" in result.stdout
    assert "key pressed: 7" in result.stdout
    assert "ended: completed (bot_ended)" in result.stdout
    assert "+3.000" in result.stdout
    assert "carrier_duration_s" not in result.stdout  # there was no hangup webhook


def test_a_call_as_json_has_record_and_timeline(sfvopi, api):
    shown = json.loads(sfvopi("calls", "show", CALL["call_id"], "--json").stdout)
    assert shown["call"] == CALL
    assert shown["timeline"][-1]["event"] == "ended"


def test_the_wire_shows_headers_and_close_codes_but_neither_texts_nor_keys(sfvopi, api):
    for result in (sfvopi("wire", CALL["call_id"]), sfvopi("wire", CALL["call_id"], "--json")):
        assert result.exit_code == 0
        assert "x-call-uuid" in result.stdout
        assert "1006" in result.stdout
        assert "secret" not in result.stdout
        assert '"7"' not in result.stdout
        assert "digit=7" not in result.stdout
    assert [entry["event"] for entry in json.loads(result.stdout)["wire"]][-2:] == ["detached", "ended"]


def test_workers_are_listed_and_a_silent_one_is_called_so(sfvopi, api):
    result = sfvopi("workers")
    assert "silent (was draining)" in result.stdout
    assert "1 of 10, offers 4" in result.stdout
    assert "1 of 20 slots in use, 19 free" in result.stdout
    assert json.loads(sfvopi("workers", "--json").stdout)["fleet"]["capacity"] == 20


def test_the_bots_of_a_worker_are_shown_when_they_are_not_all(sfvopi, api, monkeypatch):
    assert "bots" not in sfvopi("workers").stdout
    monkeypatch.setitem(WORKERS[0], "bots", ["my_bots.front_desk:bot"])
    told = sfvopi("workers").stdout
    assert [line.split()[-1] for line in told.splitlines()[:3]] == ["bots", "my_bots.front_desk:bot", "all"]
    monkeypatch.setitem(WORKERS[0], "bots", [])
    assert sfvopi("workers").stdout.splitlines()[1].split()[-1] == "none"


def test_a_call_can_be_ended(sfvopi, api):
    assert sfvopi("end", CALL["call_id"]).stdout == "ended\n"
    assert json.loads(sfvopi("end", CALL["call_id"], "--json").stdout)["ended"] is True


def test_a_quarantined_bot_is_shown_with_the_workers_and_what_to_do(sfvopi, api):
    told = sfvopi("workers")
    assert told.exit_code == 0
    said = " ".join(told.stderr.split())
    assert said.startswith("my_bots.sales:bot is quarantined since 2023-11-1")
    assert "calls of it killed their workers (c-1, c-2, c-3). On worker-1, worker-2 its new calls get" in said
    assert said.endswith("sfvopi release my_bots.sales:bot")
    assert json.loads(sfvopi("workers", "--json").stdout)["quarantined"] == [QUARANTINE]


def test_a_bot_with_the_last_worker_to_itself_is_told_apart():
    told = tell_quarantine(QUARANTINE | {"kept_worker": "worker-1"})
    assert "only worker-1 takes its new calls" in told


def test_a_bot_is_released(sfvopi, api):
    assert sfvopi("release", "my_bots.sales:bot").stdout == "released\n"
    assert json.loads(sfvopi("release", "my_bots.sales:bot", "--json").stdout)["released"] is True
    assert sfvopi("release", "nobody:bot").stdout == "nobody:bot is not quarantined; see `sfvopi workers`\n"


def test_a_gateway_of_the_version_before_knows_of_no_quarantine(sfvopi, api, monkeypatch):
    monkeypatch.delitem(ANSWERS, "/api/quarantine")
    told = sfvopi("workers", "--json")
    assert (told.exit_code, json.loads(told.stdout)["quarantined"]) == (0, [])


def test_an_unknown_call_is_said_to_be_unknown(sfvopi, api):
    result = sfvopi("calls", "show", "nobody")
    assert result.exit_code == 1
    assert result.stderr == "error: the gateway says 404: no such call\n"


def test_a_wrong_token_is_answered_with_the_setting_to_set(sfvopi, api):
    result = sfvopi("calls", SFVOPI_API_TOKEN="another")
    assert result.exit_code == 1
    assert "set SFVOPI_API_TOKEN to the fleet's" in result.stderr


def test_nobody_at_the_address_is_answered_with_what_to_start(sfvopi):
    result = sfvopi("calls", "--api", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "Start one with `sfvopi up`" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_public_port_in_place_of_the_internal_one_is_recognised(sfvopi, api):
    result = sfvopi("workers", "--api", f"{api}/elsewhere")
    assert result.exit_code == 1
    assert "give the internal port" in result.stderr


def test_a_misspelt_setting_is_bad_usage_and_names_the_right_one(sfvopi):
    result = sfvopi("calls", SFVOPI_API_TOKN="x")
    assert result.exit_code == 2
    assert "did you mean SFVOPI_API_TOKEN" in result.stderr


def test_a_fleet_that_is_up_in_this_folder_is_found_without_settings(sfvopi, api, monkeypatch, tmp_path):
    monkeypatch.delenv("SFVOPI_API_URL")
    monkeypatch.delenv("SFVOPI_API_TOKEN")
    RunFile(os.getpid(), api, TOKEN, "http://…/answer").write()
    path = tmp_path / ".sfvopi" / "up.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(sfvopi("calls", "--json").stdout) == [CALL]
    RunFile.remove()
    assert RunFile.read() is None


def test_a_run_file_of_a_fleet_that_is_gone_is_not_believed(tmp_path):
    RunFile(2**22 + 1, "http://127.0.0.1:1", "", "").write()
    assert RunFile.read() is None
