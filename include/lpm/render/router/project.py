"""The files of a Stream Analytics project, as Visual Studio Code and ``azure-streamanalytics-cicd`` read them."""

import json
from typing import Any

from lpm.config import Config, Environment
from lpm.render.names import consumer_group, hub_name, streaming_job_name
from lpm.render.router.cases import Case, cases
from lpm.render.router.outputs import Output, SqlOutput, outputs
from lpm.render.router.query import ERROR_POLICY, INPUT, query

START_FILE = "router.asaql"
TEST_CONFIG = "test/testConfig.json"
SERIALIZATION = {"Type": "Json", "Encoding": "UTF8"}


def render(config: Config) -> dict[str, str]:
    """Every project: ``asa/<environment>/<shard>/…``."""
    return {
        f"{project_folder(environment, shard)}/{path}": text
        for environment in config.environments.values()
        for shard in config.shards
        for path, text in _project(config, environment, shard).items()
    }


def project_folder(environment: Environment, shard: str) -> str:
    """Folder of one project, relative to the root of the repository."""
    return f"asa/{environment.name}/{shard}"


def _project(config: Config, environment: Environment, shard: str) -> dict[str, str]:
    sinks = outputs(config, environment, shard)
    test_cases = cases(config, shard)
    mock = f"Inputs/Local_{INPUT}.json"
    configurations = [
        ("JobConfig.json", "JobConfig"),
        (f"Inputs/{INPUT}.json", "Input"),
        (mock, "InputMock"),
        *((f"Outputs/{sink.alias}.json", "Output") for sink in sinks),
    ]
    files: dict[str, Any] = {
        "asaproj.json": {
            "name": streaming_job_name(environment, shard),
            "startFile": START_FILE,
            "configurations": [{"filePath": path, "subType": kind} for path, kind in configurations],
        },
        "JobConfig.json": _job_config(environment),
        f"Inputs/{INPUT}.json": _input(environment, shard),
        mock: _mock(f"../test/{test_cases[0].folder}/{INPUT}.json"),
        **{f"Outputs/{sink.alias}.json": _output(sink) for sink in sinks},
        TEST_CONFIG: {"Script": f"../{START_FILE}", "TestCases": [_test_case(case) for case in test_cases]},
    }
    for case in test_cases:
        files[f"test/{case.folder}/{INPUT}.json"] = case.events
        files |= {f"test/{case.folder}/{alias}.json": rows for alias, rows in case.expected.items()}
    return {START_FILE: query(config, shard)} | {path: _text(content) for path, content in files.items()}


def _job_config(environment: Environment) -> dict[str, Any]:
    return {
        "DataLocale": "en-US",
        "OutputErrorPolicy": ERROR_POLICY,
        "EventsLateArrivalMaxDelayInSeconds": 5,
        "EventsOutOfOrderMaxDelayInSeconds": 0,
        "EventsOutOfOrderPolicy": "Adjust",
        "StreamingUnits": environment.stream_analytics.streaming_units,
        "CompatibilityLevel": "1.2",
        "UseSystemAssignedIdentity": True,
        "ScriptType": "JobConfig",
    }


def _input(environment: Environment, shard: str) -> dict[str, Any]:
    return {
        "Name": INPUT,
        "Type": "Data Stream",
        "DataSourceType": "Event Hub",
        "EventHubProperties": {
            "ServiceBusNamespace": environment.event_hubs.namespace,
            "EventHubName": hub_name(shard),
            "ConsumerGroupName": consumer_group(shard),
            "AuthenticationMode": "Msi",
        },
        "Serialization": SERIALIZATION,
        "CompressionType": "None",
        "ScriptType": "Input",
    }


def _mock(path: str) -> dict[str, Any]:
    return {"InputAlias": INPUT, "Type": "Data Stream", "Format": "Json", "FilePath": path, "ScriptType": "InputMock"}


def _output(sink: Output) -> dict[str, Any]:
    if isinstance(sink, SqlOutput):
        return {
            "Name": sink.alias,
            "DataSourceType": "SQL Database",
            "SQLDatabaseProperties": {
                "Server": sink.server,
                "Database": sink.database,
                "Table": sink.table,
                "MaxWriterCount": sink.max_writer_count,
                "MaxBatchCount": sink.max_batch_count,
                "AuthenticationMode": "Msi",
            },
            "ScriptType": "Output",
        }
    return {
        "Name": sink.alias,
        "DataSourceType": "Blob Storage",
        "BlobStorageProperties": {
            "StorageAccounts": [{"AccountName": sink.account}],
            "Container": sink.container,
            "PathPattern": sink.path_pattern,
            "DateFormat": sink.date_format,
            "TimeFormat": sink.time_format,
            "AuthenticationMode": "Msi",
        },
        "Serialization": {**SERIALIZATION, "Format": "LineSeparated"},
        "ScriptType": "Output",
    }


def _test_case(case: Case) -> dict[str, Any]:
    return {
        "Name": case.title,
        "Inputs": [_mock(f"{case.folder}/{INPUT}.json")],
        "ExpectedOutputs": [
            {"OutputAlias": alias, "FilePath": f"{case.folder}/{alias}.json", "Required": True}
            for alias in case.expected
        ],
    }


def _text(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
