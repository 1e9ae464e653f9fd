"""One comparison in a process of its own: prints its seconds and its peak memory in MiB.

Each imports only what it is about: the memory is its own.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def ledger(_: str, anew: str) -> Callable[[], int]:
    from lpm.clients.databricks import DatabricksClient
    from lpm.config import load_config
    from lpm.procedures.reconciliation.ledger import bring_forward
    from lpm.procedures.reconciliation.source import Source

    config = load_config()
    environment = config.environment("local")
    databricks = DatabricksClient.of(environment)
    source = Source(config, environment, databricks)
    return lambda: len(bring_forward(source, databricks, None, anew=anew == "anew").faults)


def ours(url: str, since: str) -> Callable[[], int]:
    from lpm.clients.databricks import DatabricksClient
    from lpm.clients.target_database import TargetDatabase
    from lpm.config import load_config
    from lpm.procedures.reconciliation.company import CompanyReconciliation, Request, buckets_together
    from lpm.procedures.reconciliation.source import Source

    config = load_config()
    environment, company = config.environment("local"), config.companies[0]
    source = Source(config, environment, DatabricksClient.of(environment))
    through, rows = source.latest_version(), source.row_counts()[company.id]

    def compare() -> int:
        with TargetDatabase(
            config, company, url.replace("postgresql://", "postgresql+psycopg://"), "postgresql"
        ) as found:
            request = Request(
                since=int(since), width=buckets_together(rows, int(since)), grace_seconds=0.0, wait_seconds=0.0
            )
            return sum(CompanyReconciliation(source, found, through, request).run().result.differences.values())

    return compare


def reladiff(url: str, key: str, columns: str) -> Callable[[], int]:
    from reladiff import connect_to_table, diff_tables

    others = tuple(name for name in columns.split(",") if name not in key.split(","))
    source = connect_to_table(url, "bench_source", key.split(","))
    target = connect_to_table(url, ("dbo", "tdr_streaming"), key.split(","))
    size = len(key.split(","))
    # A changed row is told twice, as it is here and as it is there.
    return lambda: len({row[:size] for _, row in diff_tables(source, target, extra_columns=others)})


def fastrecon(url: str, key: str, columns: str) -> Callable[[], int]:
    import fastrecon as tool

    source = tool.SqlQuery(url, f"SELECT {columns} FROM bench_source")
    target = tool.SqlQuery(url, f"SELECT {columns} FROM dbo.tdr_streaming")
    settings = tool.ReconConfig(row_hash=True)  # its faster way for wide tables

    def compare() -> int:
        found = tool.compare(source, target, keys=key.split(","), config=settings)
        return int(found.changed_rows + found.missing_in_left + found.missing_in_right)

    return compare


def peak_mebibytes() -> float:
    """The most memory that this process had. Linux's getrusage would say the parent's if that had more."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    work = {"ledger": ledger, "ours": ours, "reladiff": reladiff, "fastrecon": fastrecon}[sys.argv[1]](*sys.argv[2:])
    begun = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - begun
    print(json.dumps([found, seconds, peak_mebibytes()]))
