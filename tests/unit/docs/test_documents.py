"""What the documents name exists: settings, metrics, files, links, bots; and their blocks can be read."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from shared.carrier.report import CallOutcome, CallReport
from shared.cli.doctor.bot_checks import check_bot
from shared.cli.doctor.check import Verdict
from shared.cli.doctor.speech_checks import SERVICES
from shared.registry.address import ONE_SERVERS_OWN, OPTIONS, SENTINELS_OWN, parse_address
from shared.settings import GatewaySettings, HousekeepingSettings, WorkerSettings
from shared.settings.fleet import known_names
from shared.telemetry.catalogue import CATALOGUE
from shared.telemetry.health import Readiness
from tests.documents import DOCUMENTS, ROOT, Block, blocks, inline_code, prose, table

SETTING = re.compile(r"\b(?:SFVOPI_[A-Z_]+[A-Z]|[A-Z]+_(?:API_KEY|URL)|[A-Z]+_[A-Z]+_URL)\b")
NO_SETTING = {"NAME_FILE"}
WITH_SETTINGS = [
    *DOCUMENTS,
    *(ROOT / name for name in (".env.example", "docker-compose.yml", "deploy/docker/Dockerfile")),
]
ROOMS = ("gateway", "worker", "shared", "tests", "deploy", "docs", ".ci")
TOP_LEVEL = {"README.md", "Makefile", ".env.example", "docker-compose.yml", "pyproject.toml", "requirements.lock"}

name_of = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)


@pytest.mark.parametrize("document", WITH_SETTINGS, ids=lambda document: document.name)
def test_every_setting_that_is_named_is_one(document: Path) -> None:
    named = set(SETTING.findall(document.read_text())) - NO_SETTING
    assert named - known_names() == set()


@name_of
def test_every_metric_that_is_named_is_in_the_catalogue(document: Path) -> None:
    named = set(re.findall(r"\bsfvopi_[a-z_]+[a-z]\b", document.read_text()))
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in named} <= {metric.name for metric in CATALOGUE}


@name_of
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = {piece.rstrip("/") for piece in inline_code(document) if re.fullmatch(r"[\w./-]+", piece)}
    files = {piece for piece in named if "/" in piece and piece.partition("/")[0] in ROOMS} | (named & TOP_LEVEL)
    assert [piece for piece in sorted(files) if not (ROOT / piece).exists()] == []


@name_of
def test_links_lead_to_what_is_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = document.parent / path if path else document
        assert there.exists(), target
        if anchor:
            assert anchor in {slug(line) for line in there.read_text().splitlines() if line.startswith("#")}, target


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("block", blocks("toml", "json", "yaml", "python", "sh"), ids=str)
def test_a_block_is_what_it_says_it_is(block: Block) -> None:
    match block.language:
        case "toml":
            tomllib.loads(block.text)
        case "json":
            json.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)
        case "python":
            compile(block.text, str(block), "exec")
        case _:
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)


def test_every_block_says_what_it_is_or_is_a_drawing() -> None:
    assert {block.language for block in blocks("")} <= {""}
    known = {"toml", "json", "yaml", "python", "sh", ""}
    assert {lang for document in DOCUMENTS for lang in re.findall(r"^```(\w+)$", document.read_text(), re.M)} <= known


def test_every_bot_that_is_named_is_a_bot() -> None:
    text = "\n".join(document.read_text() for document in WITH_SETTINGS)
    bots = set(re.findall(r"\bworker\.bots[\w.]*:\w+", text))
    assert len(bots) >= 2
    assert [check for bot in bots for check in check_bot(bot) if check.verdict is not Verdict.OK] == []


def test_every_example_that_is_there_is_told() -> None:
    told = inline_code(ROOT / "docs" / "bots.md")
    examples = [path for path in (ROOT / "worker" / "bots" / "examples").glob("*.py") if path.stem != "__init__"]
    assert [path.name for path in examples if str(path.relative_to(ROOT)) not in told] == []


def test_services_are_told_in_their_order() -> None:
    rows = table("bots.md", "Swapping services")
    told = {name.strip("`"): re.findall(r"`(\w+)`", names) for name, names in rows}
    assert told == {f"SFVOPI_{kind.upper()}": list(services) for kind, services in SERVICES.items()}


def test_every_readiness_is_told() -> None:
    assert set(map(str, Readiness)) <= set(inline_code(ROOT / "docs" / "operating.md"))


def test_every_form_of_redis_url_is_one() -> None:
    forms = [re.findall(r"`([^`]+)`", row[0])[0] for row in table("operating.md", "Redis")]
    assert [parse_address(form).scheme for form in forms] == ["redis", "rediss", "unix", "redis+sentinel"]


def test_every_option_of_redis_url_is_told() -> None:
    told = {name for row in table("operating.md", "Redis", 1) for name in re.findall(r"`(\w+)[=`]", row[0])}
    assert told == OPTIONS.keys() | ONE_SERVERS_OWN | SENTINELS_OWN


def test_every_figure_and_outcome_of_a_placed_call_is_told() -> None:
    told = set(inline_code(ROOT / "docs" / "carrier.md"))
    assert CallReport().to_dict().keys() <= told
    assert set(map(str, CallOutcome)) <= told


def test_the_readme_can_be_read_at_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_example_of_settings_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text()
    for name in ("SFVOPI_TOKEN_SECRETS", "SFVOPI_WEBHOOK_SECRETS"):
        lines = lines.replace(f"{name}=", f"{name}=secret")
    (tmp_path / ".env").write_text(lines)
    monkeypatch.chdir(tmp_path)
    assert GatewaySettings.read().public_wss_url == "wss://bots.example.com/ws"
    assert WorkerSettings.read().calls_per_worker == 10
    HousekeepingSettings.read()
