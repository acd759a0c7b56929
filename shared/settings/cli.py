"""Settings of the command line: where a running fleet is reached."""

from pydantic import Field

from shared.settings.fleet import FleetSettings, env


class CliSettings(FleetSettings):
    """What `sfvopi calls` and its like need to know. The API's token is the fleet's own setting."""

    api_url: str = Field(
        "",
        validation_alias=env("SFVOPI_API_URL"),
        description="A gateway's internal address, for the sfvopi command. "
        "Default: the fleet that `sfvopi up` runs here, else http://127.0.0.1:9000",
    )
