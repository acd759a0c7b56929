"""What the figures were measured on, and with what: without it they mean nothing."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from shared.version import VERSION
from worker.capacity.processes import memory_gb, processor

PACKAGES = ("pipecat-ai", "uvicorn", "starlette", "fastapi", "websockets", "uvloop", "onnxruntime", "numpy", "soxr")


def about() -> dict[str, Any]:
    """Machine, versions, date."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_gb(), 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sfvopi-fleet": VERSION,
        **{name: version(name) for name in PACKAGES},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
