"""The last word of a command that tests for minutes: its figures, for people or machines, and its exit status."""

import json
from typing import Any


def tell(report: dict[str, Any], *, as_json: bool) -> int:
    """Print it on standard output; 0 if it has `passed`, else 1."""
    if as_json:
        print(json.dumps(report))
    else:
        width = max(map(len, report))
        for name, value in report.items():
            print(f"{name:>{width}}  {value}")
    return 0 if report["passed"] else 1
