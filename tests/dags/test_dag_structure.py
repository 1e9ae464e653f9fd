"""What runs after what in each procedure, and what Airflow shows of it."""

import pytest
from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused
from airflow.sdk import AssetAny, RetryAction
from airflow.sdk.exceptions import AirflowException

from lpm.site.publishing import Answer

LOADED = ("local", "devtest", "prod")  # by the fixture

COMPANIES = ["C-1001", "C-1002", "C-1003", "C-2001", "C-2002", "O'Neill 07", "LPM-CANARY-1", "LPM-CANARY-2"]
EDGES = {
    "assess": [
        ("check_request", {"source", "change_feed", "access", "targets"}),
        *((part, {"write"}) for part in ("source", "change_feed", "access", "targets")),
        ("write", {"result"}),
    ],
    "bootstrap": [
        ("check_request", {"foundation", "tables", "secrets"}),
        ("foundation", {"hubs", "router"}),
        ("hubs", {"result"}),
        ("router", {"target", "alert_rules"}),
        ("alert_rules", {"result"}),
        ("target", {"result"}),
        ("tables", {"result"}),
        ("secrets", {"result"}),
    ],
    "enable_cdf": [
        ("check_request", {"check_prerequisites"}),
        ("check_prerequisites", {"enable"}),
        ("enable", {"validate"}),
        ("validate", {"record"}),
        ("record", {"result"}),
    ],
    "deploy_router": [("check_request", {"deploy"}), ("deploy", {"result"})],
    "deploy_stream": [("check_request", {"deploy"}), ("deploy", {"await_progress"}), ("await_progress", {"result"})],
    "control": [("check_request", {"stream", "router"}), ("stream", {"result"}), ("router", {"result"})],
    "monitor": [
        ("check_request", {"stream", "definitions", "shard"}),
        ("stream", {"company"}),
        ("company", {"tell"}),
        ("definitions", {"tell"}),
        ("shard", {"tell"}),
        ("tell", {"result"}),
    ],
    "acknowledge_alert": [("check_request", {"acknowledge"}), ("acknowledge", {"result"})],
    "reconcile": [
        ("check_request", {"ledger", "chosen"}),
        ("chosen", {"compare"}),
        ("ledger", {"compare", "strangers"}),
        ("compare", {"tell"}),
        ("strangers", {"tell"}),
        ("tell", {"result"}),
    ],
    "publish_docs": [
        ("check_request", {"build"}),
        ("build", {"approve"}),
        ("approve", {"record"}),
        ("record", {"publish"}),
        ("publish", {"result"}),
    ],
    "repair": [("check_request", {"send"}), ("send", {"result"})],
    "redrive": [("check_request", {"chosen"}), ("chosen", {"send"}), ("send", {"result"})],
    "validate": [
        ("check_request", {"chosen"}),
        ("chosen", {"run_case"}),
        ("run_case", {"clean_up"}),
        ("clean_up", {"keep"}),
        ("keep", {"result"}),
    ],
    "go_live": [
        ("check_request", {"bootstrap"}),
        ("bootstrap", {"enable_cdf"}),
        ("enable_cdf", {"deploy_router"}),
        ("deploy_router", {"deploy_stream"}),
        ("deploy_stream", {"result"}),
    ],
}


@pytest.mark.parametrize("procedure", EDGES)
def test_the_tasks_run_in_the_order_that_the_procedure_needs(dags, procedure):
    for environment in ("local", "prod"):
        dag = dags[f"{procedure}__{environment}"]
        found = {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}
        assert found == {**dict(EDGES[procedure]), "result": set()}


def test_bootstrap_makes_one_target_task_for_each_company_and_shows_its_name(dags):
    target = dags["bootstrap__local"].get_task("target")
    assert target.op_kwargs_expand_input.value == {"company": COMPANIES}
    assert target.map_index_template == "{{ task.op_kwargs['company'] }}"


def test_the_monitor_looks_at_each_shard_and_each_company_by_itself_and_tells_whatever_failed(dags):
    dag = dags["monitor__local"]
    for step, about in (("company", COMPANIES), ("shard", ["shard-01", "shard-02"])):
        look = dag.get_task(step)
        assert look.op_kwargs_expand_input.value == {step: about}
        assert look.map_index_template == f"{{{{ task.op_kwargs['{step}'] }}}}"
        assert look.partial_kwargs["retries"] == 0, "the next round is minutes away"
    assert dag.get_task("company").partial_kwargs["trigger_rule"] == "all_done", "also without the stream's look"
    assert dag.get_task("tell").trigger_rule == "all_done", "a look that died is told, not passed over"


def test_go_live_triggers_its_own_environment_and_never_repeats_a_failed_run(dags):
    for environment in ("local", "devtest", "prod"):
        for step in ("bootstrap", "enable_cdf", "deploy_router", "deploy_stream"):
            task = dags[f"go_live__{environment}"].get_task(step)
            assert task.trigger_dag_id == f"{step}__{environment}"
            assert task.trigger_dag_id in dags
            assert task.wait_for_completion
            assert task.fail_when_dag_is_paused
            assert set(task.conf) <= set(dags[task.trigger_dag_id].params), "procedures refuse unknown parameters"
            for error in (AirflowException("run failed"), DagIsPaused(task.trigger_dag_id)):
                assert task.retry_policy.evaluate(error, 1, 3).action == RetryAction.FAIL
            assert task.retry_policy.evaluate(ConnectionError(), 1, 3).action == RetryAction.DEFAULT


def test_the_site_is_published_when_a_deployment_in_any_environment_of_this_airflow_changed_something(dags):
    schedule = dags["publish_docs__prod"].schedule
    assert {asset.name for asset in schedule.asset_condition.objects} == {f"lpm-deployed-{name}" for name in LOADED}
    assert isinstance(schedule.asset_condition, AssetAny), "one of them is enough"
    for procedure, dag in ((dag_id.partition("__")[0], dag) for dag_id, dag in dags.items()):
        says_so = [outlet.name for outlet in dag.get_task("result").outlets]
        assert bool(says_so) == (procedure in ("bootstrap", "deploy_router", "deploy_stream")), procedure


def test_approvers_are_asked_once_and_their_silence_publishes_a_draft(dags):
    for environment in ("local", "prod"):
        dag = dags[f"publish_docs__{environment}"]
        ask = dag.get_task("approve")
        assert ask.options == [str(answer) for answer in Answer]
        assert ask.defaults == [Answer.DRAFT]
        assert ask.retries == 0, "every retry would ask again"
        assert ask.response_timeout < dag.dagrun_timeout
        assert [user["id"] for user in ask.assigned_users] == ["admin"], "of contacts.yml, by way of reviews.yml"


def test_the_router_has_time_for_its_new_role_on_azure_only(dags):
    assert dags["deploy_router__prod"].get_task("deploy").retries == 5
    assert dags["deploy_router__local"].get_task("deploy").retries == 2


def test_control_offers_its_choices_and_the_default_changes_nothing_that_runs(dags):
    params = dags["control__local"].params
    assert params.get_param("action").schema["enum"] == ["pause", "resume", "restart"]
    assert params["action"] == "resume"
    assert params.get_param("part").schema["enum"] == ["stream", "router", "all"]
    assert params.get_param("shards").schema["examples"] == ["shard-01", "shard-02"]
    with pytest.raises(Exception, match="'stop' is not one of"):
        params.get_param("action").resolve("stop")


def test_a_case_that_fails_hides_no_other_and_the_clean_up_always_runs(dags):
    dag = dags["validate__prod"]
    case = dag.get_task("run_case")
    assert case.map_index_template == "{{ task.op_kwargs['case'] }}"
    assert case.partial_kwargs["max_active_tis_per_dagrun"] == 1, "a burst beside a measurement would spoil it"
    assert case.partial_kwargs["retries"] == 0, "a case that fails now and then has failed"
    assert dag.get_task("clean_up").trigger_rule == "all_done"
    assert dag.get_task("keep").trigger_rule == "all_done"
    assert dag.params["disruptive"] is False, "whole shards are stopped only where somebody asks for it"
