"""Stand-in for the AMQP side of Event Hubs: what Microsoft's azure-eventhub speaks, over the log of the local broker.

A hub is a topic and a partition a partition, so what is published here the router reads, and what the stream job sends
through Kafka can be received here. It answers what the service publishes; nothing is kept but the broker's log.
"""
