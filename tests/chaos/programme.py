"""Which scenes are played in a run, in which order, and at what scale."""

from collections.abc import Sequence

from shared.settings.fleet import known_names
from tests.chaos.fleet import can
from tests.chaos.scenes import at_random, carriers, gateways, poisonous, registry, strangers, workers
from tests.chaos.scenes.scene import Scale, Scene

SCENES: tuple[Scene, ...] = (
    *workers.SCENES,
    *poisonous.SCENES,
    *gateways.SCENES,
    *registry.SCENES,
    *carriers.SCENES,
    *strangers.SCENES,
    *at_random.SCENES,
)
RANDOM_S = {True: 20.0, False: 300.0}  # on each path: ten minutes in all of a full run


def scene_named(name: str) -> Scene:
    """Raises `KeyError` for a name that is none."""
    return {scene.name.lower(): scene for scene in SCENES}[name.lower()]


def paths_of(scene: Scene, wanted: Sequence[str], *, is_quick: bool, is_chosen: bool) -> list[str]:
    """Where a scene is played. Whoever is asked for by name is played wherever it can be."""
    paths = scene.quick_paths if is_quick and not is_chosen else scene.paths
    return [path for path in paths if path in wanted]


def why_skipped(scene: Scene, path: str) -> str:
    """What this checkout lacks for a scene; empty if nothing."""
    if path == "direct" and not can("media_path"):
        return "this fleet has no direct path yet"
    missing = [option for option in scene.needs if not can(option)]
    missing += [name for name in scene.needs_settings if name not in known_names()]
    return f"this fleet has no {', '.join(missing)} yet" if missing else ""


def scale_of(scene: Scene, *, is_quick: bool, calls: int) -> Scale:
    return Scale(calls or scene.calls, is_quick, RANDOM_S[is_quick])
