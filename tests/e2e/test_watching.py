"""The monitor on a live cloud: it sees everything, tells what is wrong, hears who looks after it, and says the end."""

import json

import pytest
from confluent_kafka import Producer

from lpm.local.airflow_api import DagRunError
from lpm.local.cloud.parts import Cloud
from lpm.local.demo.pipeline import Pipeline, wait_until
from lpm.procedures.status import OpenAlert, Status
from lpm.render import names

ALERT, SHARD = "router-input-errors", "shard-01"
LOOK_AGAIN_SECONDS = 120


def status(cloud: Cloud) -> Status:
    return Status.model_validate_json((cloud.folder / "airflow" / "evidence" / "status.json").read_text())


def open_alerts(cloud: Cloud) -> dict[str, OpenAlert]:
    return {alert.alert: alert for alert in status(cloud).alerts if alert.subject.name == SHARD}


def test_the_monitor_observes_every_part_of_a_pipeline_that_runs(cloud: Cloud, pipeline: Pipeline) -> None:
    result = pipeline.run_dag("monitor", {"reason": "end-to-end test"})
    unknown = [line.strip() for line in result["details"] if "not known" in line]
    assert all(line.startswith("credential_days_left: not known: without expires_on") for line in unknown), unknown
    found = status(cloud)
    assert found.stream.running
    assert all(shard.running for shard in found.shards.values())
    assert all(line.now.watermark is not None for line in found.companies)


def test_a_fault_is_told_looked_after_and_over(cloud: Cloud, pipeline: Pipeline) -> None:
    endpoints = cloud.endpoints
    producer = Producer(
        {
            "bootstrap.servers": endpoints.kafka,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "$ConnectionString",
            "sasl.password": endpoints.kafka_connection_string,
        }
    )
    producer.produce(names.hub_name(SHARD), b"no JSON at all", partition=0)
    assert producer.flush(30) == 0

    def told() -> bool:
        pipeline.run_dag("monitor", {})
        return ALERT in open_alerts(cloud)

    wait_until(told, f"{ALERT} is told", LOOK_AGAIN_SECONDS)
    pipeline.run_dag("acknowledge_alert", {"alert": ALERT, "subject": f"shard {SHARD}", "reason": "a test"})
    pipeline.run_dag("monitor", {})
    login = endpoints.airflow.logins[0]
    assert open_alerts(cloud)[ALERT].acknowledged_by == login.user
    state = json.loads((cloud.folder / "airflow" / "evidence" / "alerts" / "state-monitor.json").read_text())
    assert state["outbox"] == []


def test_acknowledging_what_is_not_open_fails_and_says_what_is(pipeline: Pipeline) -> None:
    with pytest.raises(DagRunError, match="acknowledge_alert__local failed in acknowledge"):
        pipeline.run_dag("acknowledge_alert", {"alert": "no-such-alert"})
