"""What procedures keep and hand on."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of what travels between tasks and survives restarts as JSON: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
