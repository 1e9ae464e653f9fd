"""One local cloud, live, for all end-to-end tests."""

from collections.abc import Iterator

import pytest

from lpm.local.cloud import control
from lpm.local.cloud.parts import Cloud
from lpm.local.demo.pipeline import Pipeline

FIRST_ROWS = 2_000


@pytest.fixture(scope="package")  # no longer: an idle cloud slows down every test that comes after
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud of its own."""
    folder = tmp_path_factory.mktemp("e2e") / "cloud"
    yield control.up(print, folder)
    control.reset(print, folder)


@pytest.fixture(scope="package")
def pipeline(cloud: Cloud) -> Pipeline:
    """The pipeline after go_live, its source filled before."""
    pipeline = Pipeline.of(cloud)
    pipeline.source.create(FIRST_ROWS)
    pipeline.run_dag("go_live", {"reason": "end-to-end test"})
    return pipeline
