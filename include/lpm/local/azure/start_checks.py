"""What Azure finds out about a streaming job when it compiles or starts it."""

from lpm.local.azure import bodies
from lpm.local.azure.errors import AzureError, bad_request, not_found
from lpm.local.azure.store import Resource, ResourceId, Store
from lpm.local.azure.type_names import CONSUMER_GROUPS, CONTAINERS, HUBS, ROLE_ASSIGNMENTS
from lpm.local.router.compiling import NotSimulated, compile_query

# Built-in roles, https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
HUB_READERS = {
    "a638d3c7-ab3a-418d-83e6-5f17a39d4fde": "Azure Event Hubs Data Receiver",
    "f526a384-b230-433a-b45c-95f59c4a2dec": "Azure Event Hubs Data Owner",
}
BLOB_WRITERS = {
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
}


def query_faults(query: str, inputs: list[str], outputs: list[str] | None = None) -> list[str]:
    """What is wrong with a query: it cannot be read, or names an output that is not in the list."""
    if len(inputs) != 1:
        return [f"the stand-in runs queries with exactly one input, found {len(inputs)}"]
    try:
        compiled = compile_query(query, inputs[0])
    except NotSimulated as error:
        return [str(error)]
    unknown = [name for name in compiled.outputs if outputs is not None and name not in outputs]
    return [f"the output '{name}' used in the query was not found" for name in unknown]


def check_query(job_id: str, job: bodies.StreamingJob) -> None:
    """Refuse a job whose query does not compile against its inputs and outputs.

    Raises:
        AzureError: with what the compiler found.
    """
    properties = job.properties
    if properties.transformation is None:
        return
    inputs = [source.name for source in properties.inputs]
    outputs = [output.name for output in properties.outputs]
    if faults := query_faults(properties.transformation.properties.query, inputs, outputs):
        raise bad_request("BadRequest", f"Query compilation error: {'; '.join(faults)}", job_id)


def check_may_start(store: Store, resource: Resource) -> None:
    """Refuse to start a job that is incomplete, or whose identity may not use its hub or its container.

    Raises:
        AzureError: naming the input or output.
    """
    job = bodies.StreamingJob.model_validate(resource.asked)
    properties = job.properties
    if not (properties.inputs and properties.outputs and properties.transformation):
        message = "A streaming job needs an input, an output and a query before it can start."
        raise bad_request("BadRequest", message, resource.id)
    check_query(resource.id, job)
    principal = resource.document().get("identity", {}).get("principalId", "")
    for source in properties.inputs:
        _check_input(store, source, principal)
    for output in properties.outputs:
        if isinstance(output.properties.datasource, bodies.BlobTarget):
            _check_container(store, output.name, output.properties.datasource.properties, principal)


def _check_input(store: Store, source: bodies.Input, principal: str) -> None:
    hub = source.properties.datasource.properties
    address = f"sb://{hub.service_bus_namespace}.servicebus.windows.net/{hub.event_hub_name}"
    found = _find(store, HUBS, hub.service_bus_namespace, hub.event_hub_name)
    if found is None:
        raise not_found(f"Input '{source.name}': the messaging entity '{address}' could not be found.", source.name)
    group = f"{address}/consumergroups/{hub.consumer_group_name}"
    if not _find(store, CONSUMER_GROUPS, hub.service_bus_namespace, hub.event_hub_name, hub.consumer_group_name):
        raise not_found(f"Input '{source.name}': the messaging entity '{group}' could not be found.", source.name)
    if hub.authentication_mode == "Msi" and not _holds_role(store, found, principal, HUB_READERS):
        raise AzureError(
            401,
            "Unauthorized",
            f"Input '{source.name}': Unauthorized access. 'Listen' claim(s) are required to perform this operation. "
            f"Resource: '{group}/partitions/0'. The job's identity {principal or '(none)'} needs one of the roles "
            f"{', '.join(HUB_READERS.values())} on the hub.",
            source.name,
        )


def _check_container(store: Store, output: str, blob: bodies.BlobTargetProperties, principal: str) -> None:
    account = blob.storage_accounts[0].account_name
    found = _find(store, CONTAINERS, account, "default", blob.container)
    if found is None:
        message = f"the container '{blob.container}' of storage account '{account}' could not be found"
        raise not_found(f"Output '{output}': {message}.", output)
    if blob.authentication_mode == "Msi" and not _holds_role(store, found, principal, BLOB_WRITERS):
        raise AzureError(
            403,
            "AuthorizationPermissionMismatch",
            f"Output '{output}': This request is not authorized to perform this operation using this permission. "
            f"The job's identity {principal or '(none)'} needs one of the roles {', '.join(BLOB_WRITERS.values())} "
            "on the container.",
            output,
        )


def _find(store: Store, type_name: str, *names: str) -> Resource | None:
    wanted = [name.lower() for name in names]
    for resource in store.of_type(type_name):
        if [name.lower() for name in ResourceId.parse(resource.id).names] == wanted:
            return resource
    return None


def _holds_role(store: Store, resource: Resource, principal: str, roles: dict[str, str]) -> bool:
    """Whether the principal has one of the roles on the resource or above it."""
    for assignment in store.of_type(ROLE_ASSIGNMENTS):
        properties = assignment.asked["properties"]
        scope = ResourceId.parse(assignment.id).scope.lower()
        covers = resource.id.lower() == scope or resource.id.lower().startswith(f"{scope}/")
        role = properties["roleDefinitionId"].rsplit("/", 1)[-1].lower()
        if covers and role in roles and properties["principalId"].lower() == principal.lower():
            return True
    return False
