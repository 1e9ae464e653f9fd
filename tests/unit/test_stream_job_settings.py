"""The stream job's settings: what is rendered can be read, and what cannot be read says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from lpm.config import load_config
from lpm.render import names, stream_job
from stream_job.settings import SettingsError, load, parse

CONFIG = load_config()


def document() -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(stream_job.settings(CONFIG, CONFIG.environment("local")))
    return settings


@pytest.mark.parametrize("environment", list(CONFIG.environments))
def test_rendered_settings_can_be_read(environment: str) -> None:
    settings = parse(stream_job.settings(CONFIG, CONFIG.environment(environment)))
    assert settings.environment == environment
    assert {route.company for route in settings.routes} == {company.id for company in CONFIG.companies}
    assert settings.columns == tuple(column.name for column in CONFIG.table.columns)
    assert settings.kafka.bootstrap == names.rendered_kafka_bootstrap(CONFIG.environment(environment))


def test_settings_hold_no_secret_and_the_given_address() -> None:
    settings = parse(stream_job.settings(CONFIG, CONFIG.environment("local"), kafka_bootstrap="127.0.0.1:5"))
    assert settings.kafka.bootstrap == "127.0.0.1:5"
    assert settings.kafka.secret_variable == "LPM_EVENT_HUBS_SECRET"


def test_events_of_unknown_companies_go_to_the_first_shard_and_all_its_partitions() -> None:
    settings = parse(stream_job.settings(CONFIG, CONFIG.environment("prod")))
    assert settings.unrouted.topic == names.hub_name(CONFIG.shards[0])
    assert settings.unrouted.partitions == tuple(range(CONFIG.environment("prod").event_hubs.partitions))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"routes": [{"company": 5, "topic": "t", "partitions": [0]}]},
            r"settings.routes\[0\].company is 5, expected a str",
        ),
        ({"routes": [{"company": "c", "topic": "t", "partitions": []}]}, "partitions of .* are empty"),
        ({"routes": "all"}, "settings.routes is 'all', expected a list"),
        ({"trigger_seconds": "1"}, "settings.trigger_seconds is '1', expected a float"),
        ({"heartbeat_seconds": 0}, "heartbeat_seconds is 0.0, expected more than 0"),
        ({"max_event_bytes": True}, "settings.max_event_bytes is True, expected a int"),
        ({"kafka": 1}, "settings.kafka is 1, expected an object"),
        ({"session": {"a": 1}}, "settings.session.a is 1, expected a str"),
        ({"chekpoint": "x"}, "settings has unknown chekpoint; expected only environment, "),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse(json.dumps(document() | change))


def test_a_missing_key_is_named() -> None:
    given = document()
    del given["kafka"]["protocol"], given["checkpoint"]
    with pytest.raises(SettingsError, match="settings lacks checkpoint"):
        parse(json.dumps(given))
    with pytest.raises(SettingsError, match=r"settings\.kafka lacks protocol"):
        parse(json.dumps(given | {"checkpoint": "x"}))


def test_a_wrong_protocol_names_the_right_ones() -> None:
    given = document()
    given["kafka"]["protocol"] = "PLAINTEXT"
    with pytest.raises(SettingsError, match=r"protocol is 'PLAINTEXT', expected one of SASL_SSL, SASL_PLAINTEXT"):
        parse(json.dumps(given))


def test_a_file_that_is_missing_or_broken_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent.json cannot be read.*Run deploy_stream"):
        load(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"broken.json: is not JSON.*Run `lpm render`"):
        load(broken)


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(document()), encoding="utf-8")
    assert load(path).environment == "local"
