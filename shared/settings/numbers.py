"""What differs per dialled number: the bot, the codec, the sample rate. Read from a TOML file.

[default]
bot = "my_bots.front_desk:bot"

["+918000000001"]
bot = "my_bots.sales:bot"
codec = "L16"
sample_rate = 16000
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.settings.fleet import FleetSettings, SettingsError, read_file
from shared.sfvopi.errors import UnsupportedFormat
from shared.sfvopi.formats import AudioFormat, Codec

FIELDS = {"bot", "codec", "sample_rate"}


@dataclass(frozen=True, slots=True)
class NumberPlan:
    """What a call to one number gets."""

    bot: str
    format: AudioFormat


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

    @classmethod
    def read(cls, settings: FleetSettings) -> "Numbers":
        """The numbers of these settings. Raises `SettingsError`, naming the file and the table."""
        base = {"bot": settings.default_bot, "codec": settings.codec, "sample_rate": settings.sample_rate}
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
    return NumberPlan(bot, audio)
