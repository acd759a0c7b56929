"""Is every number's bot there, is its audio format sensible, and does its source have what Pipecat drops silently?

Bots are looked at, never imported: a bot may do anything when it is.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from shared.cli.doctor.check import Check, fail, ok, warn
from shared.settings import FleetSettings, Numbers, SettingsError
from shared.sfvopi.formats import AudioFormat, Codec

# Pipecat takes these by name, says nothing, and does nothing: the bot then talks over its caller.
DROPPED_SILENTLY = {
    "vad_analyzer": ("Params", "belongs into LLMUserAggregatorParams(vad_analyzer=…)"),
    "turn_analyzer": ("Params", "belongs into user turn strategies"),
    "allow_interruptions": ("", "is gone: interruptions are on when the user aggregator has a VAD"),
}
RIGHT_PLACE = "LLMUserAggregatorParams"


def check_bots(settings: FleetSettings) -> Iterator[Check]:
    """The numbers file, each bot in it, each format in it."""
    try:
        numbers = Numbers.read(settings)
    except SettingsError as error:
        yield fail("SFVOPI_BOTS", str(error))
        return
    if settings.numbers_file:
        yield ok("SFVOPI_BOTS", f"{settings.numbers_file}: {len(numbers.by_number)} numbers")
    for bot in numbers.bots:
        yield from check_bot(bot)
    for audio in dict.fromkeys([numbers.default.format, *(plan.format for plan in numbers.by_number.values())]):
        yield check_format(audio)


def check_format(audio: AudioFormat) -> Check:
    """What a codec and a rate cost."""
    name = f"{audio.codec} {audio.sample_rate} Hz"
    if audio.sample_rate > 8000:
        return warn(
            "format",
            f"{name}: the trunk is 8000 Hz, so the carrier only upsamples; recognition gets no better",
            "SFVOPI_SAMPLE_RATE=8000",
        )
    if audio.codec is Codec.PCMU:
        return warn(
            "format",
            f"{name}: the carrier converts every frame, as the trunk is A-law",
            "SFVOPI_CODEC=PCMA passes through",
        )
    return ok("format", name)


def check_bot(bot: str) -> Iterator[Check]:
    """One `module:function`."""
    module, _, function = bot.partition(":")
    try:
        source = _source_of(module)
    except Exception as error:  # importing its packages runs their code, which is not ours
        yield fail(f"bot {bot}", f"{type(error).__name__}: {error}", "its package cannot be imported")
        return
    if source is None:
        where = "the current folder or an installed package"
        yield fail(f"bot {bot}", f"there is no module {module}", f"put it into {where}, or correct SFVOPI_BOT")
        return
    try:
        tree = ast.parse(source.read_text(), filename=str(source))
    except (SyntaxError, OSError, UnicodeDecodeError) as error:
        yield fail(f"bot {bot}", f"{source} cannot be read: {error}")
        return
    if function not in _names_of(tree):
        yield fail(f"bot {bot}", f"{source} has no {function}", f"write `async def {function}(runner_args)`")
    else:
        yield ok(f"bot {bot}", str(source))
    yield from _silently_dropped(bot, tree)


def _source_of(module: str) -> Path | None:
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    finally:
        sys.path[:] = before
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _names_of(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def _silently_dropped(bot: str, tree: ast.Module) -> Iterator[Check]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for keyword in node.keywords:
            suffix, remedy = DROPPED_SILENTLY.get(keyword.arg or "", (None, ""))
            if suffix is not None and called.endswith(suffix) and called != RIGHT_PLACE:
                found = f"line {node.lineno}: {called}({keyword.arg}=…) is ignored by Pipecat without a word"
                yield warn(f"bot {bot}", found, f"{keyword.arg} {remedy}")
