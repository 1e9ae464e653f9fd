"""How deploy_stream tells whether the job is what the configuration says."""

import copy

import pytest

from lpm.config import load_config
from lpm.procedures.deploy_stream import DEFINITION_TAG, backfill_job_settings, find_differences, job_settings

CONFIG = load_config()


def settings(environment: str = "prod", wheel: str = "/Volumes/a/b/c/wheels/x.whl"):
    return job_settings(CONFIG, CONFIG.environment(environment), wheel, "/Volumes/a/b/c/settings/x.json")


def as_databricks_answers(sent):
    """What Databricks adds to a job that it stores."""
    stored = copy.deepcopy(sent)
    stored |= {"timeout_seconds": 0, "format": "MULTI_TASK", "email_notifications": {}}
    stored["tasks"][0] |= {"run_if": "ALL_SUCCESS", "timeout_seconds": 0}
    stored["job_clusters"][0]["new_cluster"] |= {"enable_elastic_disk": True}
    stored.pop("run_as")  # it is answered in another form
    return stored


def test_a_job_as_databricks_stores_it_has_no_differences():
    assert find_differences(settings(), as_databricks_answers(settings())) == []


def test_the_backfill_job_is_compared_in_the_same_way():
    wanted = backfill_job_settings(CONFIG, CONFIG.environment("prod"), "/Volumes/w.whl", "/Volumes/s.json")
    assert find_differences(wanted, copy.deepcopy(wanted)) == []
    other = backfill_job_settings(CONFIG, CONFIG.environment("prod"), "/Volumes/other.whl", "/Volumes/s.json")
    assert [line.partition(":")[0] for line in find_differences(wanted, other)] == [
        f"tags.{DEFINITION_TAG}",
        "tasks[0].libraries[0].whl",
    ]


@pytest.mark.parametrize("environment", ["local", "devtest", "prod"])
def test_the_definition_tag_changes_exactly_when_the_definition_does(environment):
    tag = settings(environment)["tags"][DEFINITION_TAG]
    assert tag == settings(environment)["tags"][DEFINITION_TAG]
    assert tag != settings(environment, wheel="/Volumes/a/b/c/wheels/y.whl")["tags"][DEFINITION_TAG]


def test_each_difference_names_its_place_and_both_values():
    stored = as_databricks_answers(settings())
    stored["continuous"]["pause_status"] = "PAUSED"
    stored["tasks"][0]["libraries"] = [{"whl": "/Volumes/old.whl"}]
    stored["job_clusters"] = []
    differences = find_differences(settings(), stored)
    assert "continuous.pause_status: 'PAUSED', expected 'UNPAUSED'" in differences
    assert "tasks[0].libraries[0].whl: '/Volumes/old.whl', expected '/Volumes/a/b/c/wheels/x.whl'" in differences
    assert any(line.startswith("job_clusters: [], expected [") for line in differences)
    assert len(differences) == 3


def test_a_setting_of_ours_that_was_removed_shows_in_the_tag():
    before = settings()
    stored = as_databricks_answers(before | {"tags": {**before["tags"], DEFINITION_TAG: "older"}})
    assert [line.partition(":")[0] for line in find_differences(settings(), stored)] == [f"tags.{DEFINITION_TAG}"]
