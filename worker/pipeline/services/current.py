"""How a bot, which is given only its call, comes by the settings of its process.

The worker says `use_settings(settings)` before it takes calls. A bot that runs by itself (a test, Pipecat's own
runner) finds none and reads them.
"""

from contextvars import ContextVar

from shared.settings import WorkerSettings

_SETTINGS: ContextVar[WorkerSettings | None] = ContextVar("worker_settings", default=None)


def use_settings(settings: WorkerSettings) -> None:
    """Give these settings to every bot that is started from here on in this context."""
    _SETTINGS.set(settings)


def current_settings() -> WorkerSettings:
    """The settings of this process. Raises `SettingsError` if they must be read and cannot be used."""
    return _SETTINGS.get() or WorkerSettings.read()
