"""Typed settings: one model per process, read once at start from the environment, `.env` and `*_FILE`."""

from shared.settings.cli import CliSettings
from shared.settings.fleet import CallLimits, FleetSettings, SettingsError
from shared.settings.gateway import GatewaySettings
from shared.settings.housekeeping import HousekeepingSettings
from shared.settings.numbers import NumberPlan, Numbers
from shared.settings.worker import Rehearsal, WorkerSettings

__all__ = [
    "CallLimits",
    "CliSettings",
    "FleetSettings",
    "GatewaySettings",
    "HousekeepingSettings",
    "NumberPlan",
    "Numbers",
    "Rehearsal",
    "SettingsError",
    "WorkerSettings",
]
