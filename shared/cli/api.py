"""The gateway's internal API, as functions. What it says is passed on as it is: plain dictionaries."""

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

from shared.cli.faults import CliFault

TIMEOUT_S = 10
STATE_S = 2


class FleetApi:
    """One gateway's API at `url`. Every method raises `CliFault`, saying what to do, when it cannot be had."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            trust_env=False,  # an internal address: no proxy of the environment
        )

    async def calls(self, limit: int = 50) -> list[dict[str, Any]]:
        """Records of the newest calls, newest first."""
        return list((await self._ask("GET", f"/api/calls?limit={limit}"))["calls"])

    async def call(self, call_id: str) -> dict[str, Any]:
        """`{"call": record, "timeline": [entry…]}` of one call."""
        return await self._ask("GET", f"/api/calls/{quote(call_id, safe='')}")

    async def find(self, call_id: str) -> dict[str, Any] | None:
        """As `call`; None for a call that is not known."""
        return await self._ask("GET", f"/api/calls/{quote(call_id, safe='')}", missing={}) or None

    async def timeline(self, call_id: str, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Entries from number `after` on, and the number to ask for next. A call not known yet has none."""
        answer = await self._ask("GET", f"/api/calls/{quote(call_id, safe='')}/timeline?after={after}", missing={})
        return list(answer.get("timeline", [])), int(answer.get("next", after))

    async def end(self, call_id: str) -> bool:
        """End a call; False when it was over already."""
        return bool((await self._ask("POST", f"/api/calls/{quote(call_id, safe='')}/end"))["ended"])

    async def workers(self) -> list[dict[str, Any]]:
        return list((await self._ask("GET", "/api/workers"))["workers"])

    async def drain(self, worker_id: str, handover: bool = False) -> dict[str, Any]:
        """Tell a worker to take no new calls and leave after its last one; or to hand its calls over."""
        path = f"/api/workers/{quote(worker_id, safe='')}/drain"
        return dict((await self._ask("POST", path, json={"handover": handover}))["worker"])

    async def quarantined(self) -> list[dict[str, Any]]:
        """Bots whose calls kill workers; a gateway of a version before knows of none."""
        return list((await self._ask("GET", "/api/quarantine", missing={})).get("quarantined", []))

    async def release(self, bot: str) -> bool:
        """End a bot's quarantine; False when it was not quarantined."""
        return bool((await self._ask("POST", f"/api/bots/{quote(bot, safe='')}/release"))["released"])

    async def fleet(self) -> dict[str, Any]:
        """Capacity, used, free, workers, live calls, drift."""
        return await self._ask("GET", "/api/fleet")

    async def state_of(self, url: str = "") -> dict[str, Any]:
        """What /readyz of the gateway, or of a process at another `url`, says; nothing when nobody answers.

        On a connection of its own: several generations of a process may listen on one socket.
        """
        try:
            answer = await self._http.get(
                f"{url.rstrip('/')}/readyz" if url else "/readyz", headers={"Connection": "close"}, timeout=STATE_S
            )
            said = answer.json()
        except (httpx2.HTTPError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    async def readiness(self, url: str = "") -> str:
        """The `readiness` that it says; "" when nobody answers."""
        return str((await self.state_of(url)).get("readiness", ""))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(
        self, method: str, path: str, missing: dict[str, Any] | None = None, json: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, json=json)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CliFault(
                f"no gateway answers at {self.url} ({error or type(error).__name__}): is the fleet running? "
                "Start one with `sfvopi up`, or give its internal address: --api http://host:9000"
            ) from None
        if answer.status_code == 404 and missing is not None:
            return missing
        return self._read(answer)

    def _read(self, answer: httpx2.Response) -> dict[str, Any]:
        try:
            body = answer.json()
        except ValueError:
            body = None
        if answer.status_code in (401, 403):
            raise CliFault(f"the gateway at {self.url} refuses the token: set SFVOPI_API_TOKEN to the fleet's")
        if not isinstance(body, dict) or (answer.status_code == 404 and "error" not in body):
            raise CliFault(
                f"{self.url} is no gateway's internal address (status {answer.status_code}): "
                "give the internal port (SFVOPI_GATEWAY_INTERNAL_PORT, 9000), not the public one"
            )
        if answer.status_code >= 400:
            raise CliFault(f"the gateway says {answer.status_code}: {body.get('error', 'no reason given')}")
        return body
