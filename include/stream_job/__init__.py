"""The stream job: change feed of the source table -> change events -> Event Hubs. Runs on Databricks and locally.

Imports nothing but the standard library and pyspark. Everything it knows about the table comes in its settings.
"""
