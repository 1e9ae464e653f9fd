"""What a router worker is told (``job.json``) and what it tells (``progress.json``)."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from lpm.local.files import write_atomically


class Document(BaseModel):
    """A JSON file that is replaced as a whole, so that a reader never sees half of it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    def write(self, path: Path) -> None:
        """Replace ``path``. Only this user may read it: a job holds passwords."""
        write_atomically(path, f"{self.model_dump_json(indent=2)}\n".encode(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it back.

        Raises:
            OSError: the file cannot be read.
            pydantic.ValidationError: it says something else than this document.
        """
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


class KafkaInput(BaseModel):
    """The hub as the worker reads it. An empty ``username`` means a broker without authentication."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap: str
    topic: str
    group: str
    username: str = ""
    password: str = Field(default="", repr=False)


class SqlSink(BaseModel):
    """Rows are copied into ``table`` (``schema.name``) of the PostgreSQL database at ``url``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sql"] = "sql"
    alias: str
    url: str = Field(repr=False)
    table: str
    max_batch_count: int = Field(default=10_000, ge=1)  # rows per transaction


class BlobSink(BaseModel):
    """JSON lines are appended to ``<folder>/<yyyy>/<MM>/<dd>/<alias>.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["blob"] = "blob"
    alias: str
    folder: Path


Sink = Annotated[SqlSink | BlobSink, Field(discriminator="kind")]


class RouterJob(Document):
    """One Stream Analytics job while it is started."""

    name: str
    run: str  # a new text for each start action; a worker that finds its own run in the progress file resumes
    query: str
    input_alias: str
    kafka: KafkaInput
    start: Literal["earliest", "latest", "last"]  # oldest retained, now, or where the job last was
    error_policy: Literal["Drop", "Stop"] = "Drop"
    outputs: tuple[Sink, ...]
    progress_file: Path


class OutputProgress(BaseModel):
    """Counters of one output since the job's run began."""

    events: int = 0
    dropped: int = 0  # rows that did not fit a column, under error policy Drop (Azure: ConversionErrors)
    refused: int = 0  # attempts with such a row, under error policy Stop (Azure: ConversionErrors)
    last_output_at: datetime | None = None
    failing_since: datetime | None = None  # None while it takes what it is given
    error: str = ""


class Progress(Document):
    """What the job has done in this run, replaced about once a second. Times are UTC."""

    name: str
    run: str
    pid: int
    updated_at: datetime
    input_events: int = 0  # messages read
    input_bytes: int = 0
    malformed: int = 0  # messages that are no JSON (Azure: DeserializationError)
    errors: int = 0  # failed attempts to write or to read, transient ones too
    last_error: str = ""
    lag: int = 0  # messages in the hub that have not left through the outputs
    last_event_at: datetime | None = None  # enqueued, newest that has left (Azure: lastOutputEventTime)
    watermark_delay_seconds: float = 0.0  # age of the oldest event read that has not left; 0 when there is none
    outputs: dict[str, OutputProgress] = Field(default_factory=dict)

    @property
    def degraded(self) -> bool:
        """An output is refusing and holds up the job."""
        return any(output.failing_since for output in self.outputs.values())


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)
