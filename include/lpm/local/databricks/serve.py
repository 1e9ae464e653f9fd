"""``python -m lpm.local.databricks.serve``: the stand-in as a process.

The token is read from ``LPM_DATABRICKS_TOKEN``. ``LPM_DATABRICKS_BACKOFF_FIRST_SECONDS`` and
``LPM_DATABRICKS_BACKOFF_CAP_SECONDS`` set the first and the longest pause before a failed continuous run is followed by
a new one, ``LPM_DATABRICKS_CANCEL_SECONDS`` how long a cancelled run may take before it is killed.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from lpm.local.databricks.app import StandIn, create_app
from lpm.local.databricks.runs import TOKEN_VARIABLE
from lpm.local.databricks.scheduler import Pace


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Stand-in for a Databricks workspace, on the local Spark.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="state, tables, volumes and logs")
    parser.add_argument("--warehouse", default="local", help="id of the SQL warehouse")
    parser.add_argument("--memory", default="1g", help="heap of the JVM that runs statements")
    parser.add_argument("--large", action="store_true", help="for statements over millions of rows, not many over few")
    parser.add_argument("--job-memory", default="1g", help="heap of the JVM of each run")
    options = parser.parse_args(arguments)
    if not (token := os.environ.get(TOKEN_VARIABLE)):
        sys.exit(f"{TOKEN_VARIABLE} is not set: expected the token that clients will send")
    stand_in = StandIn(
        folder=options.folder.absolute(),
        token=token,
        warehouse_id=options.warehouse,
        memory=options.memory,
        large=options.large,
        job_memory=options.job_memory,
        pace=pace(os.environ),
    )
    uvicorn.run(
        create_app(stand_in),
        host=options.host,
        port=options.port,
        loop="asyncio",
        log_level="warning",
        timeout_graceful_shutdown=5,
    )


def pace(environment: Mapping[str, str]) -> Pace:
    """The lengths that the environment sets, the usual ones for the rest."""
    usual = Pace()
    prefix = "LPM_DATABRICKS_"
    return Pace(
        first_pause=float(environment.get(f"{prefix}BACKOFF_FIRST_SECONDS", usual.first_pause)),
        longest_pause=float(environment.get(f"{prefix}BACKOFF_CAP_SECONDS", usual.longest_pause)),
        cancel_grace=float(environment.get(f"{prefix}CANCEL_SECONDS", usual.cancel_grace)),
    )


if __name__ == "__main__":
    main()
