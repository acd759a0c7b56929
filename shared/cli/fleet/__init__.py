"""A fleet of processes on this machine, for `sfvopi up`, `sfvopi demo` and tests."""

from shared.cli.fleet.embedded_redis import EmbeddedRedis
from shared.cli.fleet.local_fleet import LocalFleet
from shared.cli.fleet.plan import FleetPlan, Programs, WebhookUrls
from shared.cli.fleet.readiness import FleetFailed

__all__ = ["EmbeddedRedis", "FleetFailed", "FleetPlan", "LocalFleet", "Programs", "WebhookUrls"]
