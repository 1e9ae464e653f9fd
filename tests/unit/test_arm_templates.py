"""The rendered ARM templates, read as strictly as can be done without Azure."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from lpm.config import Config, Environment, load_config
from lpm.local.azure.expressions import UnknownValueError
from lpm.local.azure.resource_types import resource_type
from lpm.local.azure.store import Group
from lpm.local.azure.template import Plan, plan
from lpm.render import arm, names
from lpm.render import router as asa
from lpm.render.arm.document import literal
from lpm.render.arm.roles import ROLE_IDS

CONFIG = load_config()
ENVIRONMENTS = list(CONFIG.environments.values())
TEMPLATES = [(environment, name) for environment in ENVIRONMENTS for name in (arm.FOUNDATION, arm.ROUTER)]
every_template = pytest.mark.parametrize(
    ("environment", "name"), TEMPLATES, ids=[f"{environment.name}-{name}" for environment, name in TEMPLATES]
)
every_environment = pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda environment: environment.name)
FILES = arm.render(CONFIG)


def unknown(*_: Any) -> Any:
    raise UnknownValueError


def documents(environment: Environment, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    template = FILES[arm.template_path(environment.name, name)]
    parameters = FILES[arm.parameters_path(environment.name, name)]
    return json.loads(template), json.loads(parameters)


def read(environment: Environment, name: str) -> Plan:
    template, parameters = documents(environment, name)
    group = Group(
        id=f"/subscriptions/{environment.azure.subscription_id}/resourceGroups/{environment.azure.resource_group}",
        name=environment.azure.resource_group,
        location=environment.azure.location,
    )
    return plan(template, parameters["parameters"], group, unknown)


def bodies(environment: Environment, name: str, type_name: str) -> dict[str, Any]:
    """Computed bodies of one type by the resource's own name."""
    found = read(environment, name)
    return {
        planned.id.name: found.body(planned, keep_unknown=True)
        for planned in found.resources
        if planned.id.type == type_name
    }


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


def jobs(environment: Environment) -> dict[str, Any]:
    return bodies(environment, arm.ROUTER, "Microsoft.StreamAnalytics/streamingjobs")


@every_template
def test_a_template_is_whole_and_uses_all_it_declares(environment: Environment, name: str) -> None:
    template, parameters = documents(environment, name)
    assert template["$schema"].endswith("/deploymentTemplate.json#")
    assert parameters["$schema"].endswith("/deploymentParameters.json#")
    assert template["contentVersion"] == parameters["contentVersion"] == "1.0.0.0"
    assert template["metadata"]["_generator"]["name"] == "lpm render"
    code = " ".join(text for text in strings([template["variables"], template["resources"], template["outputs"]]))
    assert (
        set(re.findall(r"parameters\('([^']+)'\)", code))
        == set(template["parameters"])
        == set(parameters["parameters"])
    )
    assert set(re.findall(r"variables\('([^']+)'\)", code)) == set(template["variables"])
    assert all(definition["metadata"]["description"] for definition in template["parameters"].values())


@every_template
def test_every_resource_and_dependency_resolves_within_azures_limits(environment: Environment, name: str) -> None:
    template, _ = documents(environment, name)
    found = read(environment, name)  # refuses unknown types, dangling dependencies, cycles, wrong parameters
    assert len(found.resources) == len(template["resources"])
    for planned in found.resources:
        kind = resource_type(planned.id.type)
        assert re.fullmatch(kind.name_pattern, planned.id.name), planned.id.text
        try:
            body = found.body(planned)
        except UnknownValueError:  # a role assignment of an identity that does not exist yet
            assert planned.id.type == "Microsoft.Authorization/roleAssignments"
            continue
        kind.read(planned.id, planned.api_version, body)  # refuses unknown properties and wrong values


@every_template
def test_a_template_stays_below_the_size_limit(environment: Environment, name: str) -> None:
    assert len(FILES[arm.template_path(environment.name, name)].encode()) < 4 * 1024 * 1024


def test_rendering_is_deterministic_and_ends_with_a_newline() -> None:
    assert arm.render(CONFIG) == FILES
    assert all(text.endswith("}\n") and not text.endswith("\n\n") for text in FILES.values())


def test_every_environment_deploys_the_same_templates() -> None:
    for name in (arm.FOUNDATION, arm.ROUTER):
        assert len({FILES[arm.template_path(environment.name, name)] for environment in ENVIRONMENTS}) == 1


@every_environment
def test_each_shard_has_a_hub_with_the_routers_consumer_group(environment: Environment) -> None:
    hubs = bodies(environment, arm.FOUNDATION, "Microsoft.EventHub/namespaces/eventhubs")
    assert set(hubs) == {names.hub_name(shard) for shard in CONFIG.shards}
    for hub in hubs.values():
        assert hub["properties"]["partitionCount"] == environment.event_hubs.partitions
        assert (
            hub["properties"]["retentionDescription"]["retentionTimeInHours"] == environment.event_hubs.retention_hours
        )
    groups = bodies(environment, arm.FOUNDATION, "Microsoft.EventHub/namespaces/eventhubs/consumergroups")
    assert set(groups) == {names.consumer_group(shard) for shard in CONFIG.shards}


@every_environment
def test_keys_are_refused_wherever_the_job_signs_in_with_entra(environment: Environment) -> None:
    (namespace,) = bodies(environment, arm.FOUNDATION, "Microsoft.EventHub/namespaces").values()
    assert namespace["properties"]["disableLocalAuth"] is (environment.event_hubs.kafka_auth == "entra")
    assert namespace["properties"]["minimumTlsVersion"] == "1.2"
    (account,) = bodies(environment, arm.FOUNDATION, "Microsoft.Storage/storageAccounts").values()
    assert account["properties"]["allowSharedKeyAccess"] is False
    assert account["properties"]["allowBlobPublicAccess"] is False
    containers = bodies(environment, arm.FOUNDATION, "Microsoft.Storage/storageAccounts/blobServices/containers")
    assert len(containers) == 2
    assert all(container["properties"]["publicAccess"] == "None" for container in containers.values())


@every_environment
def test_the_stream_job_and_airflow_may_send_to_every_hub_and_nothing_else(environment: Environment) -> None:
    senders = [environment.databricks.run_as_object_id, environment.azure.airflow_object_id]
    assignments = bodies(environment, arm.FOUNDATION, "Microsoft.Authorization/roleAssignments").values()
    properties = [assignment["properties"] for assignment in assignments]
    sending = [one for one in properties if one["roleDefinitionId"].endswith(ROLE_IDS["eventHubsDataSender"])]
    assert sorted(one["principalId"] for one in sending) == sorted(len(CONFIG.shards) * senders)
    others = [one for one in properties if one not in sending]
    assert {one["roleDefinitionId"].rpartition("/")[2] for one in others} == {
        ROLE_IDS["storageBlobDataContributor"],  # status and evidence
        ROLE_IDS["storageBlobDataReader"],  # unrouted events
    }
    assert {one["principalId"] for one in others} == {environment.azure.airflow_object_id}


def test_one_identity_for_both_gets_its_role_once() -> None:
    environment = CONFIG.environment("prod")
    azure = environment.azure.model_copy(update={"airflow_object_id": environment.databricks.run_as_object_id})
    template = arm.templates(CONFIG, environment.model_copy(update={"azure": azure}))[arm.FOUNDATION]
    assignments = [one for one in template.resources if one["type"] == "Microsoft.Authorization/roleAssignments"]
    assert len(assignments) == len(CONFIG.shards) + 2, "and those that keep the evidence and read what is unrouted"


@every_environment
def test_each_job_may_read_its_own_hub_only(environment: Environment) -> None:
    found = read(environment, arm.ROUTER)
    roles = [planned for planned in found.resources if planned.id.type == "Microsoft.Authorization/roleAssignments"]
    scopes = {}
    for planned in roles:
        properties = found.body(planned, keep_unknown=True)["properties"]
        scopes[planned.id.scope.rsplit("/", 1)[1]] = properties["roleDefinitionId"].rsplit("/", 1)[1]
        assert "'Full').identity.principalId" in properties["principalId"]
        assert properties["principalType"] == "ServicePrincipal"
    assert scopes == {
        **{names.hub_name(shard): ROLE_IDS["eventHubsDataReceiver"] for shard in CONFIG.shards},
        environment.storage.unrouted_container: ROLE_IDS["storageBlobDataContributor"],
    }


@every_environment
def test_a_job_writes_to_exactly_the_databases_of_its_companies(environment: Environment) -> None:
    for shard in CONFIG.shards:
        job = jobs(environment)[names.streaming_job_name(environment, shard)]
        written = {}
        for output in job["properties"]["outputs"]:
            properties = output["properties"]["datasource"]["properties"]
            assert properties["authenticationMode"] == "Msi"
            if "database" in properties:
                written[output["name"]] = (properties["server"], properties["database"], properties["table"])
        assert written == {
            company.output_name: (
                environment.databases[company.id].server,
                environment.databases[company.id].database,
                names.inbox_table(CONFIG),
            )
            for company in CONFIG.companies_of(shard)
        }


@every_environment
def test_only_one_job_has_the_unrouted_output(environment: Environment) -> None:
    having = [
        name
        for name, job in jobs(environment).items()
        if names.UNROUTED_OUTPUT in [output["name"] for output in job["properties"]["outputs"]]
    ]
    assert having == [names.streaming_job_name(environment, names.unrouted_shard(CONFIG))]


@every_environment
def test_the_deployed_job_and_the_rendered_project_say_the_same(environment: Environment) -> None:
    projects = asa.render(CONFIG)
    for shard in CONFIG.shards:
        folder = asa.project_folder(environment, shard)
        properties = jobs(environment)[names.streaming_job_name(environment, shard)]["properties"]
        assert properties["transformation"]["properties"]["query"] == projects[f"{folder}/router.asaql"]
        job = json.loads(projects[f"{folder}/JobConfig.json"])
        assert properties["outputErrorPolicy"] == job["OutputErrorPolicy"]
        assert properties["compatibilityLevel"] == job["CompatibilityLevel"]
        assert properties["dataLocale"] == job["DataLocale"]
        assert properties["eventsOutOfOrderPolicy"] == job["EventsOutOfOrderPolicy"]
        assert properties["eventsOutOfOrderMaxDelayInSeconds"] == job["EventsOutOfOrderMaxDelayInSeconds"]
        assert properties["eventsLateArrivalMaxDelayInSeconds"] == job["EventsLateArrivalMaxDelayInSeconds"]
        assert properties["transformation"]["properties"]["streamingUnits"] == job["StreamingUnits"]


def changed(config: Config, **environment_changes: Any) -> Config:
    environments = {
        name: environment.model_copy(update=environment_changes) for name, environment in config.environments.items()
    }
    return config.model_copy(update={"environments": environments})


def definitions(config: Config) -> dict[str, str]:
    parameters = json.loads(arm.render(config)[arm.parameters_path("prod", arm.ROUTER)])["parameters"]
    return {shard: job["definition"] for shard, job in parameters["jobs"]["value"].items()}


def test_the_definition_tag_changes_with_what_a_job_does_and_only_then() -> None:
    before = definitions(CONFIG)
    prod = CONFIG.environments["prod"]
    company = CONFIG.companies_of(CONFIG.shards[1])[0]
    moved = prod.databases[company.id].model_copy(update={"database": "sqldb-elsewhere"})
    after = definitions(changed(CONFIG, databases={**prod.databases, company.id: moved}))
    assert after[CONFIG.shards[0]] == before[CONFIG.shards[0]]
    assert after[CONFIG.shards[1]] != before[CONFIG.shards[1]]
    assert definitions(changed(CONFIG, stream=prod.stream)) == before


def test_auto_inflate_is_off_where_there_is_no_room_to_inflate() -> None:
    hubs = CONFIG.environments["prod"].event_hubs
    for most, expected in (
        (hubs.throughput_units, (False, 0)),
        (hubs.throughput_units + 1, (True, hubs.throughput_units + 1)),
    ):
        config = changed(CONFIG, event_hubs=hubs.model_copy(update={"max_throughput_units": most}))
        parameters = json.loads(arm.render(config)[arm.parameters_path("prod", arm.FOUNDATION)])["parameters"]
        assert (parameters["autoInflate"]["value"], parameters["maximumThroughputUnits"]["value"]) == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [("[a] and [b]", "[[a] and [b]"), ("[x", "[x"), ("SELECT [a]", "SELECT [a]"), ("", "")],
)
def test_text_that_looks_like_an_expression_is_escaped(text: str, written: str) -> None:
    assert literal(text) == written
