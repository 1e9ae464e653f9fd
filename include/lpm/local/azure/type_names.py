"""Azure's names of the resource types that others than their own definition speak of."""

NAMESPACES = "Microsoft.EventHub/namespaces"
HUBS = f"{NAMESPACES}/eventhubs"
CONSUMER_GROUPS = f"{HUBS}/consumergroups"
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"
ROLE_ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"
STREAMING_JOBS = "Microsoft.StreamAnalytics/streamingjobs"
