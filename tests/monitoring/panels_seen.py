"""What each panel shows of the run: whether its queries have data, and whether they move."""

import re
from dataclasses import dataclass

from deploy.monitoring.dashboards import BOARDS
from deploy.monitoring.panels import Panel
from tests.monitoring.watchers import Points, Watchers

RATE_S = 10  # four scrapes are too few for calls that come one by one


@dataclass(frozen=True)
class Seen:
    """A panel, and its series by the legend."""

    board: str
    panel: Panel
    queries: list[Points]

    @property
    def fault(self) -> str:
        """What is wrong with it, or nothing."""
        for query, points in zip(self.panel.queries, self.queries, strict=True):
            if not any(points.values()):
                return f"no data: {query.expression}"
        moves = any(len({value for _, value in line}) > 1 for points in self.queries for line in points.values())
        return "" if moves or self.panel.is_still else "nothing moves"


async def look_at_panels(watchers: Watchers, run_s: float) -> list[Seen]:
    """Every panel of every dashboard, over the whole run, for all processes, bots and groups."""
    seen = []
    for board in BOARDS:
        for panel in board.panels:
            queries = [await watchers.range(filled_in(query.expression, run_s)) for query in panel.queries]
            seen.append(Seen(board.title, panel, queries))
    return seen


def filled_in(expression: str, run_s: float) -> str:
    """With what Grafana would put in place of its variables."""
    expression = expression.replace("$__rate_interval", f"{RATE_S}s").replace("$__range", f"{round(run_s)}s")
    return re.sub(r"\$\w+", ".*", expression)
