"""`sfvopi settings`: every setting with its variable, default and meaning, from the models; and docs/settings.md."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.cli.faults import reported
from shared.cli.fleet.environment import given_settings
from shared.cli.reach import JsonOption
from shared.cli.terminal import show, show_json, show_table
from shared.settings import CliSettings, FleetSettings, GatewaySettings, HousekeepingSettings, WorkerSettings
from shared.settings.fleet import variable_of

GROUPS: dict[str, type[FleetSettings]] = {
    "every process": FleetSettings,
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "housekeeping": HousekeepingSettings,
    "command line": CliSettings,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `given`: set in this environment or `.env`; a secret shows neither its value nor its default."""

    read_by: str
    variable: str
    default: str
    description: str
    secret: bool
    given: str


def all_settings(given: dict[str, str] | None = None) -> list[Setting]:
    """Every setting of every process, grouped."""
    return list(_all(given or {}))


def _all(given: dict[str, str]) -> Iterator[Setting]:
    for group, model in GROUPS.items():
        for name, field in model.model_fields.items():
            if model is FleetSettings or name not in FleetSettings.model_fields:
                yield _setting(group, name, field, given)


def _setting(group: str, name: str, field: FieldInfo, given: dict[str, str]) -> Setting:
    variable, secret = variable_of(field, name), field.annotation is SecretStr
    value = given.get(variable, "")
    if secret and (value or given.get(f"{variable}_FILE")):
        value = "(set)"
    return Setting(group, variable, _default(field.default), field.description or "", secret, value)


def _default(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


@reported
def settings(
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/settings.md has it.")] = False,
) -> None:
    """List every setting: its variable, its default, what it means, and what is set here. Secrets are not shown.

    \b
    Examples:
      sfvopi settings
      sfvopi settings --json | jq '.[] | select(.given != "")'
      sfvopi settings --markdown > docs/settings.md
    """
    if markdown:
        return show(as_markdown())
    listed = all_settings(given_settings())
    if as_json:
        return show_json([asdict(setting) for setting in listed])
    for group in GROUPS:
        rows = [[s.variable, s.given or s.default, s.description] for s in listed if s.read_by == group]
        show_table(["variable", "value", "meaning"], rows, title=f"\n{group}")
    return None


def as_markdown() -> str:
    """The settings as a document."""
    lines = [
        "# Settings",
        "",
        "Made from the code by `sfvopi settings --markdown`. A setting is an environment variable or a line in",
        "`.env`; each can be given as a file instead (`NAME_FILE=/run/secrets/name`). An unknown `SFVOPI_…`",
        "variable is refused at start, with the nearest known name.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.capitalize()}", "", "| variable | default | meaning |", "| --- | --- | --- |"]
        lines += [_markdown_row(setting) for setting in all_settings() if setting.read_by == group]
    return "\n".join(lines)


def _markdown_row(setting: Setting) -> str:
    default = f"`{setting.default}`" if setting.default else ""
    description = setting.description.replace("|", "\\|")
    return f"| `{setting.variable}` | {default} | {description}{' (secret)' if setting.secret else ''} |"
