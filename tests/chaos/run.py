"""Plays a programme: one fleet per media path, scene after scene, with the truth watched all the while."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos import log_search
from tests.chaos.fleet import WEBHOOK_SECRET, ChaosFleet
from tests.chaos.ledger import SceneResult, total
from tests.chaos.programme import paths_of, scale_of, why_skipped
from tests.chaos.scenes.scene import Scale, Scene
from tests.chaos.shapes import SHAPES, FleetShape
from tests.chaos.stage import Stage
from tests.chaos.truth import Truth

RECONNECT_AFTER_MS = 500.0  # of the simulated carrier
SCENE_LIMIT_S = 180.0  # beyond the scene's own length

Say = Callable[[str], None]


class Run:
    """One run of the suite. `folder` takes all logs; `play` returns the totals, `results` are by scene."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        paths: Sequence[str],
        folder: Path,
        *,
        is_quick: bool,
        is_chosen: bool = False,
        calls: int = 0,
        seed: int = 1,
        say: Say = print,
    ) -> None:
        self.results: list[SceneResult] = []
        self._scenes, self._paths, self._folder = scenes, paths, folder
        self._is_quick, self._is_chosen, self._calls, self._say = is_quick, is_chosen, calls, say
        self._rng = random.Random(seed)
        self._secrets: dict[str, str] = {"the webhook secret": WEBHOOK_SECRET}
        self._failed: list[str] = []

    async def play(self) -> dict[str, Any]:
        began = time.monotonic()
        for path in self._paths:
            for shape in SHAPES:
                await self._play_on(path, shape)
        numbers = [caller.from_number for result in self.results for caller in result.callers]
        found = log_search.search(self._folder, self._secrets, numbers)
        figures = total(self.results, found, RECONNECT_AFTER_MS)
        if self._failed:
            figures["kept"] = figures["promises"]["scenes"] = False
        return {
            **figures,
            "failed": self._failed,
            "seconds": round(time.monotonic() - began, 1),
            "scenes": [result.to_dict() for result in self.results],
        }

    async def _play_on(self, path: str, shape: FleetShape) -> None:
        """All scenes of a path that share a fleet."""
        scenes = []
        for scene in self._scenes:
            paths = paths_of(scene, self._paths, is_quick=self._is_quick, is_chosen=self._is_chosen)
            if scene.shape is not shape or path not in paths:
                continue
            if why := why_skipped(scene, path):
                self.results.append(SceneResult(scene.name, path, is_skipped=why))
                self._say(f"{path:8} {scene.name}: skipped, {why}")
                continue
            scenes.append(scene)
        while scenes:  # again with another fleet, should a scene leave one that nothing can be played on
            name = "-".join(filter(None, [path, shape.name, str(len(scenes))]))
            scenes = await self._play_all(scenes, path, self._folder / name, shape)

    async def _play_all(self, scenes: list[Scene], path: str, folder: Path, shape: FleetShape) -> list[Scene]:
        """Play them; returns those that are left when the fleet broke."""
        self._say(f"{path:8} starting a fleet{f' ({shape.name})' if shape.name else ''}")
        async with ChaosFleet(path, folder, shape) as fleet:
            self._secrets |= {
                "a token secret": fleet.fleet.token_secret,
                "an API token": fleet.fleet.api_token,
                **{f"{k}": v for k, v in fleet.providers_env.items() if k.endswith("_KEY")},
            }
            truth = Truth(fleet)
            truth.start()
            try:
                for at, scene in enumerate(scenes):
                    if not await self._play_rounds(scene, fleet, truth):
                        return scenes[at + 1 :]
            finally:
                await truth.stop()
        return []

    async def _play_rounds(self, scene: Scene, fleet: ChaosFleet, truth: Truth) -> bool:
        """All rounds of a scene; False: it broke the stage itself."""
        whole = SceneResult(scene.name, fleet.path, drops_allowed=scene.drops_allowed, counts_gap=scene.counts_gap)
        self.results.append(whole)
        scale = scale_of(scene, is_quick=self._is_quick, calls=self._calls)
        for _ in range(1 if self._is_quick else scene.rounds):
            result = SceneResult(scene.name, fleet.path, drops_allowed=scene.drops_allowed)
            try:
                await self._play_once(scene, scale, fleet, truth, result)
            except Exception as error:
                self._failed.append(f"{scene.name} ({fleet.path}): {error!r}")
                self._say(f"{fleet.path:8} {scene.name} FAILED: {error!r}")
                whole.add(result)
                return False
            whole.add(result)
        return True

    async def _play_once(
        self, scene: Scene, scale: Scale, fleet: ChaosFleet, truth: Truth, result: SceneResult
    ) -> None:
        began = time.monotonic()

        def say(line: str) -> None:
            self._say(f"{fleet.path:8} {scene.name}: {line}")

        stage = Stage(fleet, truth, result, self._rng, say)
        try:
            async with asyncio.timeout(SCENE_LIMIT_S + scale.seconds):
                await scene.play(stage, scale)
                await stage.curtain()
        finally:
            stage.open_gate()
            await stage.everybody_leaves()
            result.seconds = round(time.monotonic() - began, 1)
        say(tell(result))
        for caller in result.unexpected_drops:
            say(f"DROPPED {caller.call_id}: {caller.why_dropped}")


def tell(result: SceneResult) -> str:
    """A scene in a line."""
    row = result.to_dict()
    return (
        f"{row['offered']} offered, {row['completed']} completed, {row['refused']} refused, {row['dropped']} dropped, "
        f"{row['hit']} hit, {row['resumed']} resumed, {row['fresh']} fresh, gap p95 {row['gap_p95_ms']}, "
        f"leaked {row['leaked_slots']}, drift {row['drift']}, over {row['over_admitted']}, {row['seconds']} s"
    )
