"""Azure's built-in roles by name, and the assignment of one."""

from lpm.render.arm.document import Json, expression, quoted, variable

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles: the ids are the same in every tenant.
ROLE_IDS = {
    "eventHubsDataSender": "2b629674-e913-4c01-ae53-ef4638d8f975",
    "eventHubsDataReceiver": "a638d3c7-ab3a-418d-83e6-5f17a39d4fde",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageBlobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
}
ROLE_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"


def role_variables(*names: str) -> Json:
    """Template variables that hold the full ids of roles."""
    return {
        name: expression(
            f"subscriptionResourceId({quoted('Microsoft.Authorization/roleDefinitions')}, {quoted(ROLE_IDS[name])})"
        )
        for name in names
    }


def role_assignment(role: str, scope: str, principal: str, principal_key: str, depends_on: tuple[str, ...]) -> Json:
    """Give ``principal`` a role on one resource and no more.

    The arguments but ``role`` are expressions. The assignment's name must be known before anything is deployed, so it
    is computed from ``principal_key``: the object id, or for a managed identity the id of the resource that owns it.
    """
    return {
        "type": ROLE_ASSIGNMENTS,
        "apiVersion": "2022-04-01",
        "name": expression(f"guid({scope}, {principal_key}, {variable(role)})"),
        "scope": expression(scope),
        "dependsOn": [expression(dependency) for dependency in depends_on],
        "properties": {
            "roleDefinitionId": expression(variable(role)),
            "principalId": expression(principal),
            "principalType": "ServicePrincipal",  # without it a new identity fails until Entra has replicated it
        },
    }
