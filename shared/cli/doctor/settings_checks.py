"""Are the settings of every process usable? What `sfvopi up` makes up by itself is no fault when it is missing."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from shared.cli.doctor.check import Check, fail, ok, warn
from shared.cli.fleet.environment import is_given
from shared.settings import FleetSettings, GatewaySettings, HousekeepingSettings, SettingsError, WorkerSettings
from shared.settings.fleet import Weakness

STAND_INS = {  # field: variable, value
    "public_wss_url": ("PUBLIC_WSS_URL", "wss://stand-in.example/ws"),
    "token_secrets": ("SFVOPI_TOKEN_SECRETS", "a stand-in for a key"),  # nothing is signed with it
    "webhook_secrets": ("SFVOPI_WEBHOOK_SECRETS", "a-stand-in-for-a-secret"),
}
MISSING = {
    "PUBLIC_WSS_URL": "set it to the gateway's address as SFVoPI reaches it, such as wss://bots.example.com/ws",
    "SFVOPI_TOKEN_SECRETS": "for a fleet of several machines: `openssl rand -hex 32`, the same on all",
}
PROCESSES: dict[str, type[FleetSettings]] = {
    "gateway": GatewaySettings,
    "worker": WorkerSettings,
    "housekeeping": HousekeepingSettings,
}
Given = Mapping[str, str]
T = TypeVar("T", bound=FleetSettings)


def check_settings(given: Given) -> Iterator[Check]:
    """Every process' settings, and each setting that is missing."""
    for name, remedy in MISSING.items():
        if not is_given(name, given):
            yield warn(name, "not set; `sfvopi up` makes its own", remedy)
    weaknesses: dict[Weakness, None] = {}
    for process, model in PROCESSES.items():
        try:
            weaknesses |= dict.fromkeys(read_with_stand_ins(model, given).weaknesses)
        except SettingsError as error:
            for line in str(error).splitlines():
                yield fail(f"{process} settings", line, "`sfvopi settings` lists every setting with its meaning")
        else:
            yield ok(f"{process} settings", "read and consistent")
    for weakness in weaknesses:
        yield warn(*weakness)
    if not is_given("SFVOPI_WEBHOOK_SECRETS", given):
        yield warn(
            "SFVOPI_WEBHOOK_SECRETS",
            "not set: a gateway at a public address does not start without (`sfvopi up` makes its own)",
            "`openssl rand -hex 16`, and register …/webhook/<secret>/answer with SFVoPI",
        )


def read_with_stand_ins(model: type[T], given: Given) -> T:
    """The settings, with a stand-in for each that is missing. Raises `SettingsError`."""
    return model.read(
        **{
            field: value
            for field, (variable, value) in STAND_INS.items()
            if field in model.model_fields and not is_given(variable, given)
        }
    )
