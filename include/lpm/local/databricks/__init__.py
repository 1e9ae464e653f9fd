"""Stand-in for a Databricks workspace: the calls that this product makes, answered by the local Spark.

It answers what the published REST API says, for the vendor's own clients, and refuses the rest. What it cannot do it
refuses with a message that says so, so that nothing passes here that would fail on Databricks.
"""
