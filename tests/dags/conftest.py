"""The DAGs of this checkout as Airflow loads them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def load_dags() -> Callable[..., Any]:
    """Makes a DagBag with ``LPM_ENVIRONMENTS`` set to its argument; None leaves the variable out."""

    def load(environments: str | None) -> Any:
        from airflow.dag_processing.dagbag import BundleDagBag

        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("LPM_ENVIRONMENTS", raising=False)
            if environments is not None:
                patch.setenv("LPM_ENVIRONMENTS", environments)
            return BundleDagBag(str(DAGS), bundle_path=DAGS, bundle_name="testing")

    return load


@pytest.fixture(scope="session")
def dags(load_dags: Callable[..., Any]) -> dict[str, Any]:
    """All DAGs of all environments by id."""
    bag = load_dags("local,devtest,prod")
    assert not bag.import_errors, bag.import_errors
    return dict(bag.dags)
