"""The outputs of a shard's job, typed: the project's files, the ARM template and the local router all start here."""

from dataclasses import dataclass

from lpm.config import Config, Environment
from lpm.render.names import UNROUTED_OUTPUT, inbox_table, unrouted_shard

MAX_BATCH_COUNT = 10_000  # rows per bulk insert; more would escalate to a table lock
# 0 = one writer per partition of the hub. A single writer (1) would wait for the slowest partition, a silent one too.
MAX_WRITER_COUNT = 0


@dataclass(frozen=True)
class SqlOutput:
    """The inbox table of one company's database. ``server`` is the bare name of the logical server."""

    alias: str
    company_id: str
    server: str
    database: str
    table: str
    max_batch_count: int = MAX_BATCH_COUNT
    max_writer_count: int = MAX_WRITER_COUNT


@dataclass(frozen=True)
class BlobOutput:
    """Events of companies that nobody configured: JSON lines, one folder a day below ``path_pattern``."""

    alias: str
    account: str
    container: str
    path_pattern: str
    date_format: str = "yyyy/MM/dd"
    time_format: str = "HH"


Output = SqlOutput | BlobOutput


def outputs(config: Config, environment: Environment, shard: str) -> tuple[Output, ...]:
    """The outputs that the shard's query names, in its order.

    Raises:
        KeyError: a company has no database in this environment (the configuration check refuses this).
    """
    described: list[Output] = [
        SqlOutput(
            alias=company.output_name,
            company_id=company.id,
            server=environment.databases[company.id].server,
            database=environment.databases[company.id].database,
            table=inbox_table(config),
        )
        for company in config.companies_of(shard)
    ]
    if shard == unrouted_shard(config):
        described.append(
            BlobOutput(
                alias=UNROUTED_OUTPUT,
                account=environment.storage.account,
                container=environment.storage.unrouted_container,
                path_pattern=f"{shard}/{{date}}",
            )
        )
    return tuple(described)
