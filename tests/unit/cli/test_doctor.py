"""`sfvopi doctor`: good and bad settings, each fault with what to do."""

import json
import re
from pathlib import Path

import pytest

from shared.cli.doctor import rehearsal_checks
from shared.cli.doctor.bot_checks import check_bot, check_format
from shared.cli.doctor.check import Verdict
from shared.cli.doctor.network_checks import check_files, check_public_url
from shared.cli.doctor.redis_checks import check_redis
from shared.cli.doctor.symptoms import SYMPTOMS, SymptomKey
from shared.cli.fleet import EmbeddedRedis
from shared.sfvopi.formats import AudioFormat, Codec
from shared.telemetry.catalogue import CATALOGUE

A_BOT = """
from pipecat.transports.base_transport import TransportParams

async def bot(runner_args):
    TransportParams(audio_in_enabled=True, {wrong})
    LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
"""


@pytest.fixture
def a_bot(empty_folder):
    def write(name: str, wrong: str = "") -> str:
        (empty_folder / f"{name}.py").write_text(A_BOT.format(wrong=wrong))
        return f"{name}:bot"

    return write


@pytest.fixture
def doctor(sfvopi):
    """Run it; returns its exit status and its checks by verdict: {"fail": {name: check}, …}."""

    def run(*args, **env):
        result = sfvopi("doctor", "--json", *args, **env)
        report = json.loads(result.stdout)
        by_verdict = {v: {c["name"]: c for c in report["checks"] if c["verdict"] == v} for v in ("ok", "warn", "fail")}
        return result.exit_code, by_verdict

    return run


def test_a_fresh_clone_needs_no_settings_and_is_told_what_is_made_up(doctor, a_bot):
    status, found = doctor(SFVOPI_BOT=a_bot("fresh_bot"))
    assert status == 0
    assert found["fail"] == {}
    assert "sfvopi up" in found["warn"]["PUBLIC_WSS_URL"]["found"]
    assert "embedded" in found["ok"]["redis"]["found"]
    assert "no key is set" in found["warn"]["stt"]["found"]


def test_a_url_that_is_not_wss_is_a_failure_with_the_remedy(doctor, a_bot):
    status, found = doctor(SFVOPI_BOT=a_bot("url_bot"), PUBLIC_WSS_URL="https://bots.example.com/ws")
    assert status == 1
    assert "must start with wss://" in found["fail"]["gateway settings"]["found"]


def test_a_misspelt_setting_is_a_failure_that_names_the_right_one(doctor):
    status, found = doctor(SFVOPI_CODEX="PCMA")
    assert status == 1
    assert "did you mean SFVOPI_CODEC" in found["fail"]["worker settings"]["found"]


def test_a_line_in_dotenv_counts_as_given(doctor, a_bot, empty_folder):
    (empty_folder / ".env").write_text("SFVOPI_TOKEN_SECRETS=a-secret-for-tests\nSFVOPI_LEASE_S=1\n")
    status, found = doctor(SFVOPI_BOT=a_bot("dotenv_bot"))
    assert status == 1
    assert "SFVOPI_TOKEN_SECRETS" not in found["warn"]
    assert "at least three heartbeats" in found["fail"]["gateway settings"]["found"]


@pytest.mark.parametrize(("secrets", "is_warned"), [("0123456789abcdef", False), ("0123456789abcdef,short-one", True)])
def test_a_key_that_could_be_found_by_trying_is_warned_of(doctor, a_bot, secrets, is_warned):
    status, found = doctor(SFVOPI_BOT=a_bot("weak_bot"), SFVOPI_TOKEN_SECRETS=secrets)
    assert status == 0
    assert ("SFVOPI_TOKEN_SECRETS" in found["warn"]) is is_warned
    if is_warned:
        assert "openssl rand -hex 32" in found["warn"]["SFVOPI_TOKEN_SECRETS"]["remedy"]


def test_a_service_without_its_key_is_a_failure(doctor, a_bot):
    _, found = doctor(
        SFVOPI_BOT=a_bot("key_bot"), SFVOPI_STT="deepgram", SFVOPI_TTS="espeak", OPENAI_API_KEY="sk-hidden"
    )
    assert "DEEPGRAM_API_KEY is not set" in found["fail"]["stt"]["found"]
    assert "choose one of cartesia" in found["fail"]["tts"]["remedy"]
    assert found["ok"]["llm"]["found"] == "openai, with a key"


def test_no_secret_is_ever_shown(sfvopi, a_bot):
    env = {
        "OPENAI_API_KEY": "sk-hidden",
        "SFVOPI_TOKEN_SECRETS": "tok-hidden",
        "REDIS_URL": "redis://:pw-hidden@127.0.0.1:1/0",
    }
    for args in (["doctor"], ["doctor", "--json"], ["settings"], ["settings", "--json"]):
        result = sfvopi(*args, SFVOPI_BOT=a_bot("secret_bot"), **env)
        assert "hidden" not in result.stdout + result.stderr


def test_a_redis_url_that_cannot_be_used_is_a_failure_of_every_process(doctor):
    status, found = doctor(REDIS_URL="http://:pw-hidden@127.0.0.1")
    assert status == 1
    told = {found["fail"][f"{process} settings"]["found"] for process in ("gateway", "worker", "housekeeping")}
    assert [text.startswith("REDIS_URL must start with one of redis://") for text in told] == [True]
    assert "hidden" not in str(found)


def test_a_bot_that_is_not_there_is_a_failure(doctor):
    status, found = doctor(SFVOPI_BOT="no_such_module:bot")
    assert status == 1
    assert "there is no module no_such_module" in found["fail"]["bot no_such_module:bot"]["found"]


def test_a_bots_file_that_is_no_toml_is_a_failure_that_names_it(doctor, empty_folder):
    (empty_folder / "bots.toml").write_text("[default\n")
    _, found = doctor(SFVOPI_BOTS="bots.toml")
    assert "bots.toml is not TOML" in found["fail"]["SFVOPI_BOTS"]["found"]


def test_a_bot_without_its_function_is_a_failure(a_bot):
    checks = list(check_bot(a_bot("other_bot").replace(":bot", ":main")))
    assert [(c.verdict, "async def main" in c.remedy) for c in checks] == [(Verdict.FAIL, True)]


@pytest.mark.timeout(120)
def test_a_bot_is_rehearsed_in_a_process_of_its_own_and_its_prints_are_no_part_of_the_answer(doctor, empty_folder):
    (empty_folder / "my_bot.py").write_text("async def bot(runner_args):\n    print('{')\n    return prompt\n")
    status, found = doctor("--bot", "my_bot:bot")
    assert status == 1
    assert found["fail"].keys() == {"rehearsal of my_bot:bot"}
    told = found["fail"]["rehearsal of my_bot:bot"]["found"]
    assert told == "my_bot.py:3: NameError: name 'prompt' is not defined"


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"verdict": "ready", "took_s": 0.4}, Verdict.OK),
        ({"verdict": "away", "fault": "refused"}, Verdict.WARN),
        ({"verdict": "failed", "fault": "NameError"}, Verdict.FAIL),
    ],
)
def test_a_provider_that_is_away_is_only_warned_of(found, verdict):
    assert rehearsal_checks._judge("rehearsal", found).verdict is verdict


@pytest.mark.parametrize("wrong", ["vad_analyzer=SileroVADAnalyzer()", "turn_analyzer=x", "allow_interruptions=True"])
def test_what_pipecat_drops_silently_is_found_in_the_source(a_bot, wrong):
    name = f"dropped_{wrong.partition('=')[0]}"
    warnings = [c for c in check_bot(a_bot(name, wrong)) if c.verdict is Verdict.WARN]
    assert len(warnings) == 1
    assert "is ignored by Pipecat without a word" in warnings[0].found


def test_the_right_place_of_a_vad_is_no_warning(a_bot):
    assert [c.verdict for c in check_bot(a_bot("right_bot"))] == [Verdict.OK]


@pytest.mark.parametrize(
    ("audio", "verdict"),
    [
        (AudioFormat(), Verdict.OK),
        (AudioFormat(Codec.PCMU), Verdict.WARN),
        (AudioFormat(Codec.L16, 16000), Verdict.WARN),
        (AudioFormat(Codec.L16, 8000), Verdict.OK),
    ],
)
def test_formats_that_cost_more_are_warned_of(audio, verdict):
    assert check_format(audio).verdict is verdict


async def test_redis_is_looked_at_with_its_version_and_its_clock():
    async with EmbeddedRedis() as server:
        checks = {check.name: check async for check in check_redis(server.url)}
    assert {check.verdict for check in checks.values()} == {Verdict.OK}
    assert "ms against Redis'" in checks["clock"].found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://127.0.0.1:1/0", "not reachable"),
        ("unix:///nowhere.sock", "not reachable"),
        ("http://x", "must start with"),
    ],
)
async def test_a_redis_that_cannot_be_used_is_a_failure(url, found):
    (check,) = [check async for check in check_redis(url)]
    assert check.verdict is Verdict.FAIL
    assert found in check.found


async def test_a_loopback_address_is_said_to_be_out_of_the_carriers_reach():
    (check,) = [check async for check in check_public_url("ws://127.0.0.1:3000/ws")]
    assert check.remedy == "sfvopi up --tunnel"


def test_a_running_fleet_is_asked(doctor, api, a_bot):
    _, found = doctor(SFVOPI_BOT=a_bot("fleet_bot"))
    assert found["ok"]["fleet"]["found"] == "1 of 2 workers serve; 1 of 20 slots in use"
    bad = found["fail"]["bot my_bots.sales:bot"]
    assert bad["found"] == "quarantined: its calls c-1, c-2, c-3 killed their workers"
    assert bad["remedy"].endswith("sfvopi release my_bots.sales:bot")


def test_a_port_that_is_taken_is_named(doctor, api, a_bot):
    port = api.rpartition(":")[2]
    _, found = doctor(SFVOPI_BOT=a_bot("port_bot"), SFVOPI_API_URL="", SFVOPI_GATEWAY_PORT=port)
    assert "SFVOPI_GATEWAY_PORT" in found["warn"][f"port {port}"]["remedy"]


def test_the_limit_of_open_files_is_looked_at():
    assert check_files().name == "open files"


@pytest.mark.parametrize("key", list(SymptomKey))
def test_every_symptom_is_answered_with_what_shows_it(sfvopi, a_bot, key):
    result = sfvopi("doctor", "--symptom", key, SFVOPI_BOT=a_bot("symptom_bot"))
    assert result.exit_code == 0
    assert "seen in" in result.stdout
    assert re.search(r"sfvopi_\w+|`[^`]+`", result.stdout)


def test_symptoms_name_only_metrics_that_exist():
    known = {metric.name for metric in CATALOGUE}
    text = json.dumps([symptom.to_dict() for symptom in SYMPTOMS])
    named = {name.removesuffix("_count") for name in re.findall(r"sfvopi_\w+", text)}
    assert named
    assert named <= known
    assert {symptom.key for symptom in SYMPTOMS} == set(SymptomKey)


def test_an_unknown_symptom_is_bad_usage(sfvopi):
    assert sfvopi("doctor", "--symptom", "hiccups").exit_code == 2


def test_services_are_those_that_a_worker_knows():
    table = Path(__file__).parents[3] / "worker" / "pipeline" / "services" / "table.py"
    if not table.exists():
        pytest.skip("no workers here")
    from shared.cli.doctor.speech_checks import SERVICES
    from worker.pipeline.services.table import LLM, STT, TTS

    known = {kind.field: {service.name: service.key for service in kind.services} for kind in (STT, LLM, TTS)}
    assert known == SERVICES
    assert [list(SERVICES[kind.field]) for kind in (STT, LLM, TTS)] == [
        [service.name for service in kind.services] for kind in (STT, LLM, TTS)
    ]


def test_symptoms_quote_only_log_lines_that_are_written():
    root = Path(__file__).parents[3]
    source = "".join(path.read_text() for room in ("gateway", "worker") for path in (root / room).rglob("*.py"))
    text = json.dumps([symptom.to_dict() for symptom in SYMPTOMS], ensure_ascii=False)
    quoted = re.findall(r"log(?: at start)? `([^`]+)`", text)
    assert len(quoted) >= 3
    assert [line for line in quoted if f'"{line}"' not in source] == []
