"""Parsing is cheap: every task process does it again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Heavy, and needed only while a task works. httpx is not in the list: Airflow's own SDK brings it.
HEAVY = (
    "azure",
    "confluent_kafka",
    "databricks",
    "duckdb",
    "fastapi",
    "pandas",
    "pyodbc",
    "pyspark",
    "requests",
    "sqlglot",
)
# 0.3 s of CPU where `import airflow` takes 3 s: asserted as a share, because machines differ.
MOST = 0.1

PARSE = """
import json, sys, time
start = time.process_time(); import airflow; imported = time.process_time() - start
from airflow.dag_processing.dagbag import BundleDagBag
start = time.process_time(); bag = BundleDagBag(sys.argv[1], bundle_path=sys.argv[1], bundle_name="testing")
print(json.dumps({
    "import": imported, "parse": time.process_time() - start, "dags": sorted(bag.dags),
    "errors": bag.import_errors, "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


@pytest.fixture(scope="module")
def parsed():
    """A fresh process that parses all DAGs of all environments, where no database exists."""
    environment = {
        **os.environ,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nonexistent/airflow.db",
        "LPM_ENVIRONMENTS": "local,devtest,prod",
        "PYTHONPATH": str(ROOT / "include"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_parsing_needs_no_database(parsed):
    assert not parsed["errors"]
    assert len(parsed["dags"]) == 18


def test_parsing_imports_nothing_heavy(parsed):
    found = set(HEAVY) & set(parsed["modules"])
    assert not found, f"import {sorted(found)} inside the function that needs it"


def test_parsing_all_dags_costs_little_beside_importing_airflow(parsed):
    share = parsed["parse"] / parsed["import"]
    assert share <= MOST, f"parsing took {parsed['parse']:.2f} s, importing Airflow {parsed['import']:.2f} s"


def test_the_factory_is_not_parsed_as_a_dag_file():
    assert "procedure_dags.py" in (ROOT / "dags" / ".airflowignore").read_text().split()
