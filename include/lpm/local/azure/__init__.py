"""Stand-in for Azure Resource Manager, the hubs, storage and streaming jobs it deploys, and the identity endpoint.

It answers what Microsoft publishes and nothing else: an unknown resource type, property or template function is an
error, so that a template that deploys here is one that Azure can read.
"""
