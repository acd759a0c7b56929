"""Settings of a housekeeping process."""

from typing import Self

from pydantic import Field, model_validator

from shared.settings.fleet import MOST_PORTS, FleetSettings, env

LONGEST_RETENTION_S = 29 * 86400  # Redis itself drops a record 30 days after its last change


class HousekeepingSettings(FleetSettings):
    """Where housekeeping's health and metrics are; the rest is the fleet's."""

    host: str = Field("127.0.0.1", validation_alias=env("SFVOPI_HOUSEKEEPING_HOST"))
    port: int = Field(
        9200, ge=0, le=MOST_PORTS, validation_alias=env("SFVOPI_HOUSEKEEPING_PORT"), description="Health and metrics."
    )
    pod_costs_s: float = Field(
        0,
        ge=0,
        validation_alias=env("SFVOPI_POD_COSTS_S"),
        description="Between two rounds of telling Kubernetes how many calls each worker has (pod-deletion-cost), "
        "so that scaling down takes the idlest first. 0: never, as outside of a cluster.",
    )

    @model_validator(mode="after")
    def _keeps_what_it_says(self) -> Self:
        if self.retention_s > LONGEST_RETENTION_S:
            raise ValueError(
                f"SFVOPI_RETENTION_S ({self.retention_s:g}) can be {LONGEST_RETENTION_S} at most: records leave "
                "Redis after 30 days; deliver them elsewhere to keep them longer"
            )
        return self
