"""What differs per dialled number: bot, codec, sample rate, and what becomes of too many calls. Read from a TOML file.

[default]
bot = "my_bots.front_desk:bot"

["+918000000001"]
bot = "my_bots.sales:bot"
codec = "L16"
sample_rate = 16000
ceiling = 20
overflow = "hold"
hold_max_s = 60
group = "sales"
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

from shared.settings.fleet import LONGEST_HOLD_S, FleetSettings, SettingsError, read_file
from shared.sfvopi.errors import UnsupportedFormat
from shared.sfvopi.formats import AudioFormat, Codec

FIELDS = {"bot", "codec", "sample_rate", "overflow", "redirect_url", "ceiling", "hold_max_s", "group"}
_GROUP = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")  # a metric's label: a name, and no number


class Overflow(StrEnum):
    """What becomes of a call that no worker can take."""

    REJECT = "reject"  # the primary webhook fails, so that the carrier asks the fallback; ours plays the busy message
    BUSY = "busy"  # the busy message, at once
    HOLD = "hold"  # a place in line, with music; the busy message after the longest wait
    REDIRECT = "redirect"  # another server's stream


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """What a call to one number gets."""

    bot: str
    format: AudioFormat
    overflow: Overflow = Overflow.REJECT
    redirect_url: str = ""
    ceiling: int = 0  # most calls at once; 0: as many as there is room for
    hold_max_s: float = 120
    group: str = "default"  # numbers that are counted together


@dataclass(frozen=True, slots=True)
class Numbers:
    """The plans of all numbers, and the default."""

    default: NumberPlan
    by_number: Mapping[str, NumberPlan] = field(default_factory=lambda: MappingProxyType({}))

    def plan_for(self, number: str) -> NumberPlan:
        """The plan of a dialled number (E.164), or the default."""
        return self.by_number.get(number, self.default)

    @property
    def bots(self) -> list[str]:
        """Every bot that any number may ask for, the default first."""
        return list(dict.fromkeys([self.default.bot, *(plan.bot for plan in self.by_number.values())]))

    @property
    def groups_of_bots(self) -> list[tuple[str, str]]:
        """Every bot with each group that its calls may be counted in, the default first."""
        return list(dict.fromkeys((plan.bot, plan.group) for plan in [self.default, *self.by_number.values()]))

    @classmethod
    def read(cls, settings: FleetSettings) -> "Numbers":
        """The numbers of these settings. Raises `SettingsError`, naming the file and the table."""
        base = {
            "bot": settings.default_bot,
            "codec": settings.codec,
            "sample_rate": settings.sample_rate,
            "overflow": settings.overflow,
            "redirect_url": settings.redirect_url,
            "ceiling": settings.ceiling,
            "hold_max_s": settings.hold_max_s,
            "group": "default",
        }
        path = settings.numbers_file
        if path is None:
            return cls(_plan("settings", base))
        try:
            tables = tomllib.loads(read_file("SFVOPI_BOTS", path))
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"SFVOPI_BOTS: {path} is not TOML: {error}") from None
        default = base | _table(str(path), "default", tables.pop("default", {}))
        return cls(
            _plan(f"{path}: [default]", default),
            MappingProxyType(
                {
                    number: _plan(f"{path}: [{number}]", default | _table(str(path), number, table))
                    for number, table in tables.items()
                }
            ),
        )


def _table(path: str, name: str, table: object) -> dict[str, object]:
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: {name} must be a table, written [{name!r}]")
    if unknown := set(table) - FIELDS:
        raise SettingsError(f"{path}: [{name}] has unknown {sorted(unknown)}; known are {sorted(FIELDS)}")
    return table


def _plan(where: str, values: Mapping[str, object]) -> NumberPlan:
    bot = str(values["bot"])
    module, colon, function = bot.partition(":")
    if not (module and colon and function):
        raise SettingsError(f"{where}: bot must be module:function, not {bot!r}")
    try:
        audio = AudioFormat(Codec(str(values["codec"]).upper()), int(str(values["sample_rate"])))
    except UnsupportedFormat as error:
        raise SettingsError(f"{where}: {error}") from None
    except ValueError:
        codecs = ", ".join(Codec)
        raise SettingsError(f"{where}: codec {values['codec']!r} is not one of {codecs}") from None
    group = values["group"]
    if not isinstance(group, str) or not _GROUP.fullmatch(group):
        raise SettingsError(f"{where}: group must be a name of up to 40 letters, digits, _ . -, not {group!r}")
    return NumberPlan(bot, audio, *_overflow(where, values), group)


def _overflow(where: str, values: Mapping[str, object]) -> tuple[Overflow, str, int, float]:
    ceiling, url, hold_max_s = values["ceiling"], str(values["redirect_url"]), values["hold_max_s"]
    try:
        overflow = Overflow(str(values["overflow"]))
    except ValueError:
        raise SettingsError(f"{where}: overflow {values['overflow']!r} is not one of {', '.join(Overflow)}") from None
    if overflow is Overflow.REDIRECT and (urlsplit(url).scheme != "wss" or not urlsplit(url).hostname):
        raise SettingsError(f"{where}: overflow = redirect needs a redirect_url that starts with wss://, not {url!r}")
    if isinstance(ceiling, bool) or not isinstance(ceiling, int) or ceiling < 0:
        raise SettingsError(f"{where}: ceiling must be a whole number, 0 for none, not {ceiling!r}")
    if isinstance(hold_max_s, bool) or not isinstance(hold_max_s, int | float) or not 0 < hold_max_s <= LONGEST_HOLD_S:
        raise SettingsError(f"{where}: hold_max_s must be more than 0 and at most {LONGEST_HOLD_S}, not {hold_max_s!r}")
    return overflow, url, ceiling, float(hold_max_s)
