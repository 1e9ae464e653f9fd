"""The Azure stand-in over a real broker and real databases, driven by Microsoft's own clients and by ours."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.streamanalytics import StreamAnalyticsManagementClient
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from lpm.clients.azure_resource_manager import SCOPE, AirflowLogin, AzureError, Change, ResourceManager
from lpm.clients.stream_analytics import StreamingJobs
from lpm.config import Config, Environment, load_config
from lpm.local import processes
from lpm.local.kafka import Broker
from lpm.local.postgres import Server
from lpm.render import arm, names, router

ROOT = Path(__file__).resolve().parents[2]
HEADER = "identity header of this test"
NUMBERS = {"bucket", "version", "rank", "schema_version", "partition_id"}
OLDEST = datetime(2020, 1, 1, tzinfo=UTC)
PLAIN = {"enforce_https": False}  # azure-core sends no token over plain HTTP unless told to


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.05)  # between two looks at the condition
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class StandIn:
    """A running stand-in with its state in ``folder``."""

    folder: Path
    broker: Broker
    server: Server
    port: int = field(default_factory=processes.free_port)
    process: Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "lpm.local.azure.serve",
            "--port",
            self.port,
            "--folder",
            self.folder / "state",
        ]
        command += ["--kafka-bootstrap", self.broker.bootstrap, "--postgres-port", self.server.port]
        secrets = {
            "LPM_KAFKA_CONNECTION_STRING": self.broker.connection_string,
            "LPM_POSTGRES_PASSWORD": self.server.password,
            "IDENTITY_HEADER": HEADER,
        }
        log = self.folder / "azure.log"
        environment = {**os.environ, **secrets, "PYTHONPATH": str(ROOT / "include")}
        self.process = processes.start([str(part) for part in command], log, environment)
        processes.wait_until(lambda: processes.accepts(self.port), "Azure stand-in", 60, self.process, log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process)

    def fault(self, **fault: Any) -> None:
        httpx.post(f"{self.url}/stand-in/faults", json=fault).raise_for_status()

    def worker(self, job: str) -> Any:
        """What the job's worker last reported, or None."""
        path = self.folder / "state" / "workers" / f"{job}.progress.json"
        return json.loads(path.read_text()) if path.exists() else None


@dataclass
class StaticLogin:
    """A token taken from the identity endpoint by hand."""

    url: str

    def endpoint(self) -> str:
        return self.url

    def token(self) -> tuple[str, float]:
        address = f"{self.url}/msi/token?api-version=2019-08-01&resource=https://management.azure.com"
        answer = httpx.get(address, headers={"X-IDENTITY-HEADER": HEADER}).json()
        return answer["access_token"], float(answer["expires_on"])


@pytest.fixture(scope="module")
def azure(kafka: Broker, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path_factory.mktemp("azure"), kafka, postgres)
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def identity(azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)


def own_config(tag: str) -> Config:
    """The local environment with hubs, databases and a resource group that no other test uses."""
    config = load_config()
    shards = {shard: f"{tag}-{shard}" for shard in config.shards}
    local = config.environments["local"]
    databases = {
        company: database.model_copy(update={"database": f"{tag}_{database.database}"})
        for company, database in local.databases.items()
    }
    group = local.azure.model_copy(update={"resource_group": f"rg-{tag}"})
    update = {
        "databases": databases,
        "azure": group,
        "storage": local.storage.model_copy(update={"account": f"st{tag}"}),
    }
    return config.model_copy(
        update={
            "shards": tuple(shards.values()),
            "companies": tuple(
                company.model_copy(update={"shard": shards[company.shard]}) for company in config.companies
            ),
            "environments": {"local": local.model_copy(update=update)},
        }
    )


@dataclass
class Deployment:
    """A configuration and the resource group it is deployed to."""

    config: Config
    manager: ResourceManager

    @property
    def environment(self) -> Environment:
        return self.config.environments["local"]

    @property
    def jobs(self) -> StreamingJobs:
        return StreamingJobs(self.manager)

    def documents(self, name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
        template = arm.templates(self.config, self.environment)[name]
        return template.document(), template.parameters_document(), f"lpm-{name}"

    def what_if(self, name: str) -> list[Change]:
        return self.manager.what_if(*self.documents(name))

    def deploy(self, *which: str) -> dict[str, Any]:
        azure = self.environment.azure
        self.manager.ensure_resource_group(azure.location, {"pipeline": "lpm-streaming"})
        outputs: dict[str, Any] = {}
        for name in which:
            outputs |= self.manager.deploy(*self.documents(name)).outputs
        return outputs

    def job(self, position: int = 0) -> str:
        return names.streaming_job_name(self.environment, self.config.shards[position])

    def hub(self, position: int = 0) -> str:
        return names.hub_name(self.config.shards[position])


def deployment(azure: StandIn, tag: str) -> Deployment:
    config = own_config(tag)
    return Deployment(config, ResourceManager(config.environments["local"].azure, StaticLogin(azure.url)))


def make_inboxes(server: Server, made: Deployment) -> None:
    schema, table = names.inbox_table(made.config).split(".")
    columns = ", ".join(f'"{name}" {"bigint" if name in NUMBERS else "text"}' for name in router.COLUMNS)
    for database in made.environment.databases.values():
        server.create_database(database.database)
        with connect(server, database.database) as connection:
            connection.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.{table} ({columns})")


def connect(server: Server, database: str) -> psycopg.Connection:
    url = server.url(database).replace("postgresql+psycopg://", "postgresql://")
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


def received(server: Server, made: Deployment, company: str) -> list[str]:
    with connect(server, made.environment.databases[company].database) as connection:
        rows = connection.execute(f"SELECT event_id FROM {names.inbox_table(made.config)} ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def send(made: Deployment, broker: Broker, hub: str, *events: tuple[str, str]) -> None:
    """Send (company, event id) pairs."""
    producer = Producer(broker.client_settings())
    for company, event_id in events:
        body = {"event_id": event_id, "info_companyid": company, "op": "upsert", "version": 1}
        producer.produce(hub, json.dumps(body).encode(), partition=0)
    assert producer.flush(20) == 0


# Deploying


def test_bootstrap_creates_everything_and_a_second_run_changes_nothing(azure: StandIn, kafka: Broker) -> None:
    made = deployment(azure, "twice")
    assert made.manager.ensure_resource_group("local", {"a": "b"}) is True
    assert {change.kind for change in made.what_if(arm.FOUNDATION)} == {"Create"}
    outputs = made.deploy(arm.FOUNDATION, arm.ROUTER)
    assert outputs["hubs"] == [made.hub(0), made.hub(1)]
    assert outputs["eventHubsHost"] == names.event_hubs_host(made.environment)
    assert all(outputs["jobIds"][shard].endswith(f"-{shard}") for shard in made.config.shards)

    topics = AdminClient(kafka.client_settings()).list_topics(timeout=10).topics
    assert len(topics[made.hub()].partitions) == made.environment.event_hubs.partitions
    container = azure.folder / "state" / "storage" / made.environment.storage.account
    assert (container / made.environment.storage.unrouted_container).is_dir()
    job = made.jobs.get(made.job())
    assert job is not None
    assert (job.state, job.is_started, job.last_output_event_time) == ("Created", False, None)

    assert made.what_if(arm.FOUNDATION) == []
    assert made.what_if(arm.ROUTER) == []
    assert made.manager.ensure_resource_group("local", {"a": "b"}) is False
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    assert made.what_if(arm.ROUTER) == []


def test_what_if_names_what_a_new_company_changes(azure: StandIn) -> None:
    made = deployment(azure, "newcompany")
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    first = made.config.companies[0]
    company = first.model_copy(update={"id": "C-9999", "slug": "c-9999", "partitions": (3,)})
    databases = {**made.environment.databases, "C-9999": made.environment.databases[first.id]}
    environment = made.environment.model_copy(update={"databases": databases})
    made.config = made.config.model_copy(
        update={"companies": (*made.config.companies, company), "environments": {"local": environment}}
    )
    assert made.what_if(arm.FOUNDATION) == []
    (change,) = made.what_if(arm.ROUTER)
    assert change.kind == "Modify"
    assert change.resource_id.endswith(made.job())
    assert "tags.lpm-definition" in change.properties
    assert "properties.transformation.properties.query" in change.properties


def test_retention_can_be_changed_and_the_partition_count_cannot(azure: StandIn, kafka: Broker) -> None:
    made = deployment(azure, "frozen")
    made.deploy(arm.FOUNDATION)

    def with_hubs(**update: Any) -> None:
        hubs = made.environment.event_hubs.model_copy(update=update)
        environment = made.environment.model_copy(update={"event_hubs": hubs})
        made.config = made.config.model_copy(update={"environments": {"local": environment}})

    with_hubs(retention_hours=48)
    made.deploy(arm.FOUNDATION)
    topic = ConfigResource(ResourceType.TOPIC, made.hub())
    admin = AdminClient(kafka.client_settings())
    settings = admin.describe_configs([topic])[topic].result(10)
    assert settings["retention.ms"].value == str(48 * 3600 * 1000)

    with_hubs(partitions=2)
    with pytest.raises(AzureError, match="Partition count cannot be changed") as caught:
        made.deploy(arm.FOUNDATION)
    assert caught.value.code == "MessagingGatewayBadRequest"
    assert made.hub() in caught.value.target
    assert "event_hubs.partitions" in str(caught.value)


def test_a_wrong_template_is_refused_before_anything_is_created(azure: StandIn) -> None:
    made = deployment(azure, "wrong")
    made.deploy()
    template, parameters, name = made.documents(arm.FOUNDATION)
    template["resources"][0]["properties"]["disableLocalAuht"] = True
    for action in (made.manager.deploy, made.manager.what_if):
        with pytest.raises(AzureError, match="disableLocalAuht") as caught:
            action(template, parameters, name)
        assert caught.value.code == "InvalidRequestContent"
        assert "evhns" in caught.value.target
    namespace = f"{made.manager.group}/providers/Microsoft.EventHub/namespaces/{made.environment.event_hubs.namespace}"
    with pytest.raises(AzureError) as missing:
        made.manager.call("GET", namespace, "2024-01-01")
    assert missing.value.status == 404


def test_deploying_without_a_resource_group_says_what_to_do(azure: StandIn) -> None:
    made = deployment(azure, "nogroup")
    with pytest.raises(AzureError, match="run the bootstrap DAG") as caught:
        made.manager.deploy(*made.documents(arm.FOUNDATION))
    assert caught.value.code == "ResourceGroupNotFound"


def test_a_recreated_job_cannot_take_over_the_old_role_assignment(azure: StandIn) -> None:
    made = deployment(azure, "recreated")
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    job = f"{made.manager.group}/providers/Microsoft.StreamAnalytics/streamingjobs/{made.job()}"
    made.manager.call("DELETE", job, "2021-10-01-preview")
    with pytest.raises(AzureError, match="delete the old role assignment") as caught:
        made.deploy(arm.ROUTER)
    assert caught.value.code == "RoleAssignmentUpdateNotPermitted"
    made.manager.call("DELETE", caught.value.target, "2022-04-01")


# Streaming jobs


def test_a_job_runs_dies_stops_and_resumes_without_losing_an_event(
    azure: StandIn, kafka: Broker, postgres: Server
) -> None:
    made = deployment(azure, "running")
    make_inboxes(postgres, made)
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    company = made.config.companies_of(made.config.shards[0])[0].id
    name, hub = made.job(), made.hub()

    send(made, kafka, hub, (company, "01"), ("nobody", "02"))  # sent before the first start
    assert made.jobs.start(name, OLDEST) == "CustomTime"
    assert made.jobs.start(name, OLDEST) is None
    eventually(lambda: received(postgres, made, company) == ["01"], "the first event")
    eventually(lambda: made.jobs.get(name).last_output_event_time, "a last output event time")  # type: ignore[union-attr]
    unrouted = azure.folder / "state" / "storage" / made.environment.storage.account
    eventually(lambda: any('"02"' in file.read_text() for file in unrouted.rglob("*.json")), "the unrouted event")

    first = azure.worker(name)["pid"]
    os.kill(first, signal.SIGKILL)
    send(made, kafka, hub, (company, "03"))
    eventually(lambda: received(postgres, made, company) == ["01", "03"], "the event after the worker's death")
    assert azure.worker(name)["pid"] != first
    eventually(lambda: made.jobs.get(name).state == "Running", "the job to be running again")  # type: ignore[union-attr]

    with pytest.raises(AzureError, match="not in a valid state") as caught:
        made.deploy(arm.ROUTER)
    assert caught.value.code == "Conflict"
    others = arm.templates(made.config, made.environment, made.config.shards[1:])[arm.ROUTER]
    made.manager.deploy(others.document(), others.parameters_document(), "lpm-router")  # leaves the running job alone

    assert made.jobs.stop(name) is True
    assert made.jobs.stop(name) is False
    send(made, kafka, hub, (company, "04"))
    assert made.jobs.start(name, OLDEST) == "LastOutputEventTime"
    eventually(lambda: "04" in received(postgres, made, company), "the event sent while the job was stopped")
    assert set(received(postgres, made, company)) == {"01", "03", "04"}

    azure.kill()  # its workers die with it
    pid = azure.worker(name)["pid"]
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in _state(pid), "the worker to die")
    send(made, kafka, hub, (company, "05"))
    azure.start()
    eventually(lambda: "05" in received(postgres, made, company), "the event after the stand-in's restart")
    eventually(lambda: made.jobs.get(name).state == "Running", "the job to be running again")  # type: ignore[union-attr]
    assert made.jobs.stop(name) is True
    assert made.jobs.get(name).state == "Stopped"  # type: ignore[union-attr]


def test_a_database_that_is_missing_degrades_the_job_and_loses_nothing(
    azure: StandIn, kafka: Broker, postgres: Server
) -> None:
    made = deployment(azure, "nodatabase")
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    company = made.config.companies_of(made.config.shards[0])[0].id
    made.jobs.start(made.job(), OLDEST)
    send(made, kafka, made.hub(), (company, "01"))
    eventually(lambda: made.jobs.get(made.job()).state == "Degraded", "a degraded job")  # type: ignore[union-attr]
    make_inboxes(postgres, made)
    eventually(lambda: received(postgres, made, company) == ["01"], "the event")
    eventually(lambda: made.jobs.get(made.job()).state == "Running", "a running job")  # type: ignore[union-attr]
    made.jobs.stop(made.job())


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_job_without_the_receiver_role_does_not_start_and_says_why(azure: StandIn) -> None:
    made = deployment(azure, "norole")
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    listed = made.manager.call("GET", f"{made.manager.group}/resources", "2021-04-01").json()["value"]
    roles = [item["id"] for item in listed if item["type"].endswith("roleAssignments") and made.hub() in item["id"]]
    for role in roles:
        made.manager.call("DELETE", role, "2022-04-01")
    with pytest.raises(AzureError, match="'Listen' claim") as caught:
        made.jobs.start(made.job(), OLDEST)
    assert caught.value.code == "Unauthorized"
    assert "Azure Event Hubs Data Receiver" in str(caught.value)
    assert made.jobs.get(made.job()).state == "Failed"  # type: ignore[union-attr]
    made.deploy(arm.FOUNDATION, arm.ROUTER)  # a failed job may be changed, and the roles come back
    assert made.what_if(arm.ROUTER) == []


def test_an_unknown_job_is_none_and_cannot_be_started(azure: StandIn) -> None:
    made = deployment(azure, "nojob")
    made.deploy()
    assert made.jobs.get("asa-nothing") is None
    with pytest.raises(AzureError, match="run the bootstrap DAG"):
        made.jobs.start("asa-nothing", OLDEST)


# Faults


@pytest.mark.parametrize("kind", ["throttle", "unavailable"])
def test_a_busy_azure_is_asked_again(azure: StandIn, kind: str) -> None:
    made = deployment(azure, f"busy{kind}")
    azure.fault(operation="group.get", kind=kind, times=2)
    azure.fault(operation="deployment.put", kind=kind)
    azure.fault(operation="operation.get", kind=kind)
    made.deploy(arm.FOUNDATION)
    assert made.what_if(arm.FOUNDATION) == []


def test_an_answer_that_does_not_come_is_asked_for_again(azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.clients.azure_resource_manager.REQUEST_TIMEOUT_SECONDS", 0.5)
    made = deployment(azure, "stalls")
    azure.fault(operation="group.get", kind="stall", seconds=1)
    assert made.manager.ensure_resource_group("local", {}) is True


def test_an_azure_that_stays_busy_is_an_error_in_the_end(azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.clients.azure_resource_manager.TRIES", 2)
    made = deployment(azure, "staysbusy")
    azure.fault(operation="group.get", kind="unavailable", times=2)
    with pytest.raises(AzureError, match="ServiceUnavailable"):
        made.manager.ensure_resource_group("local", {})


def test_an_unreachable_azure_is_an_error_that_names_it(azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpm.clients.azure_resource_manager.TRIES", 1)
    made = deployment(azure, "away")
    made.manager._endpoint = f"http://127.0.0.1:{processes.free_port()}"
    with pytest.raises(AzureError, match="Check the network"):
        made.manager.ensure_resource_group("local", {})


# Signing in


@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("credential_class", [ManagedIdentityCredential, DefaultAzureCredential])
def test_azure_identity_gets_a_token_from_the_identity_endpoint(azure: StandIn, credential_class: Any) -> None:
    began = time.monotonic()
    token = credential_class().get_token(SCOPE)
    assert time.monotonic() - began < 5
    assert token.expires_on > time.time() + 3600
    headers = {"Authorization": f"Bearer {token.token}"}
    answer = httpx.get(f"{azure.url}/subscriptions/s/resourcegroups/none?api-version=2024-03-01", headers=headers)
    assert answer.json()["error"]["code"] == "ResourceGroupNotFound"


@pytest.mark.usefixtures("identity")
def test_the_airflow_connection_signs_in_through_the_providers_hook(
    azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "azure", "host": azure.url, "extra": {"use_azure_identity_object": True}}
    monkeypatch.setenv("AIRFLOW_CONN_EDG_AZURE_LOCAL", json.dumps(connection))
    login = AirflowLogin("edg_azure_local")
    assert login.endpoint() == azure.url
    token, ends = login.token()
    assert token
    assert ends > time.time()
    monkeypatch.setenv("AIRFLOW_CONN_EDG_AZURE_PROD", json.dumps({**connection, "host": None}))
    assert AirflowLogin("edg_azure_prod").endpoint() == "https://management.azure.com"
    config = own_config("hook")
    with ResourceManager(config.environments["local"].azure) as manager:
        assert manager.ensure_resource_group("local", {}) is True


def test_calls_without_a_good_token_or_version_are_refused(azure: StandIn) -> None:
    address = f"{azure.url}/subscriptions/s/resourcegroups/g"
    assert httpx.get(f"{address}?api-version=2024-03-01").status_code == 401
    token, _ = StaticLogin(azure.url).token()
    answer = httpx.get(address, headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["error"]["code"] == "MissingApiVersionParameter"
    wrong = httpx.get(f"{azure.url}/msi/token?api-version=2019-08-01&resource=x", headers={"X-IDENTITY-HEADER": "no"})
    assert wrong.status_code == 401


# Microsoft's clients, unmodified


@pytest.mark.usefixtures("identity")
def test_microsofts_resource_client_reads_groups_and_resources(azure: StandIn) -> None:
    made = deployment(azure, "sdkresource")
    made.deploy(arm.FOUNDATION)
    group = made.environment.azure.resource_group
    with ResourceManagementClient(
        ManagedIdentityCredential(), made.environment.azure.subscription_id, base_url=azure.url, polling_interval=0
    ) as client:
        assert client.resource_groups.get(group, **PLAIN).location == "local"
        assert client.resource_groups.check_existence("rg-nothing", **PLAIN) is False
        client.resource_groups.create_or_update("rg-of-sdk", {"location": "local", "tags": {"a": "b"}}, **PLAIN)
        types = {item.type for item in client.resources.list_by_resource_group(group, **PLAIN)}
        assert "Microsoft.EventHub/namespaces/eventhubs" in types
        hub = f"/subscriptions/{made.environment.azure.subscription_id}/resourceGroups/{group}/providers/"
        hub += f"microsoft.eventhub/Namespaces/{made.environment.event_hubs.namespace}/eventhubs/{made.hub()}"
        properties = client.resources.get_by_id(hub, api_version="2024-01-01", **PLAIN).properties
        assert properties is not None
        assert properties["partitionCount"] == made.environment.event_hubs.partitions


@pytest.mark.usefixtures("identity")
def test_microsofts_deployments_client_deploys_and_asks_what_if(azure: StandIn) -> None:
    made = deployment(azure, "sdkdeploy")
    made.deploy()
    template, parameters, name = made.documents(arm.FOUNDATION)
    body = {"properties": {"mode": "Incremental", "template": template, "parameters": parameters["parameters"]}}
    group, subscription = made.environment.azure.resource_group, made.environment.azure.subscription_id
    with DeploymentsMgmtClient(
        ManagedIdentityCredential(), subscription, base_url=azure.url, polling_interval=1
    ) as client:
        client.deployments.begin_validate(group, name, body, **PLAIN).result()
        changes = client.deployments.begin_what_if(group, name, body, **PLAIN).result().changes
        assert {change.change_type for change in changes} == {"Create"}
        done = client.deployments.begin_create_or_update(group, name, body, **PLAIN).result()
        assert done.properties.provisioning_state == "Succeeded"
        assert done.properties.outputs["hubs"]["value"] == [made.hub(0), made.hub(1)]
        changes = client.deployments.begin_what_if(group, name, body, **PLAIN).result().changes
        assert {change.change_type for change in changes} == {"NoChange"}
        del template["resources"][0]["sku"]
        with pytest.raises(HttpResponseError, match="sku: Field required"):
            client.deployments.begin_create_or_update(group, name, body, **PLAIN).result()


@pytest.mark.usefixtures("identity")
def test_microsofts_stream_analytics_client_drives_a_job(azure: StandIn, postgres: Server) -> None:
    made = deployment(azure, "sdkjob")
    make_inboxes(postgres, made)
    made.deploy(arm.FOUNDATION, arm.ROUTER)
    group, name = made.environment.azure.resource_group, made.job(1)
    with StreamAnalyticsManagementClient(
        ManagedIdentityCredential(), made.environment.azure.subscription_id, base_url=azure.url
    ) as client:
        jobs = client.streaming_jobs
        assert {job.name for job in jobs.list_by_resource_group(group, **PLAIN)} == {made.job(0), made.job(1)}
        assert jobs.get(group, name, **PLAIN).inputs is None
        job = jobs.get(group, name, expand="inputs,outputs,transformation", **PLAIN)
        assert job.compatibility_level == "1.2"
        assert [source.name for source in job.inputs] == [router.INPUT]
        companies = made.config.companies_of(made.config.shards[1])
        assert [output.name for output in job.outputs] == [company.output_name for company in companies]
        output = client.outputs.get(group, name, companies[0].output_name, **PLAIN)
        assert output.datasource.authentication_mode == "Msi"
        query = client.transformations.get(group, name, job.transformation.name, **PLAIN).query
        assert query == router.query(made.config, made.config.shards[1])
        assert client.inputs.get(group, name, router.INPUT, **PLAIN).properties.datasource.event_hub_name == made.hub(1)

        jobs.begin_start(group, name, {"outputStartMode": "JobStartTime"}, polling_interval=1, **PLAIN).result()
        assert jobs.get(group, name, **PLAIN).job_state == "Running"
        with pytest.raises(HttpResponseError, match="not in a valid state"):
            jobs.update(group, name, {"tags": {"a": "b"}}, **PLAIN)
        jobs.begin_stop(group, name, polling_interval=1, **PLAIN).result()
        assert jobs.get(group, name, **PLAIN).job_state == "Stopped"
        assert jobs.update(group, name, {"tags": {"a": "b"}}, **PLAIN).tags == {"a": "b"}
        jobs.begin_delete(group, name, polling_interval=1, **PLAIN).result()
        with pytest.raises(ResourceNotFoundError):
            jobs.get(group, name, **PLAIN)


def test_a_query_is_compiled_without_a_job(azure: StandIn) -> None:
    made = deployment(azure, "compile")
    address = f"{made.manager.subscription}/providers/Microsoft.StreamAnalytics/locations/local/compileQuery"

    def compiled(query: str) -> Any:
        body = {"query": query, "jobType": "Cloud", "inputs": [{"name": router.INPUT, "type": "Stream"}]}
        return made.manager.call("POST", address, "2021-10-01-preview", body).json()["errors"]

    assert compiled(router.query(made.config, made.config.shards[0])) == []
    (fault,) = compiled("SELECT * FROM hub TIMESTAMP BY x")
    assert fault["message"]
