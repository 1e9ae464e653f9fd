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
# Of the CPU time of `import airflow`, which every task process pays too; 0.3 s where that takes 1 s.
MOST = 0.3
ENVIRONMENTS = ("local", "devtest", "prod")

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


def parse():
    """What a fresh process finds and needs that parses all DAGs of all environments, where no database exists."""
    environment = {
        **os.environ,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////nonexistent/airflow.db",
        "LPM_ENVIRONMENTS": ",".join(ENVIRONMENTS),
        "PYTHONPATH": str(ROOT / "include"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT / "dags")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def parsed():
    return parse()


def test_parsing_needs_no_database(parsed):
    assert not parsed["errors"]
    files = {path.stem for path in (ROOT / "dags").glob("*.py")} - {"procedure_dags", "dag_facts"}
    assert set(parsed["dags"]) == {f"{name}__{environment}" for name in files for environment in ENVIRONMENTS}


def test_parsing_imports_nothing_heavy(parsed):
    found = set(HEAVY) & set(parsed["modules"])
    assert not found, f"import {sorted(found)} inside the function that needs it"


def test_parsing_all_dags_costs_little_beside_importing_airflow(parsed):
    runs = [parsed, parse()]  # the better of two: the machine has other work
    shares = [run["parse"] / run["import"] for run in runs]
    assert min(shares) <= MOST, f"parsing took {runs[1]['parse']:.2f} s, importing Airflow {runs[1]['import']:.2f} s"


def test_the_factory_is_not_parsed_as_a_dag_file():
    assert "procedure_dags.py" in (ROOT / "dags" / ".airflowignore").read_text().split()
