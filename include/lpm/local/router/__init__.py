"""A local Stream Analytics job: executes the rendered query text between Kafka and the company databases.

``compiling`` turns the query into DuckDB SQL, ``engine`` runs it over a batch of messages, ``worker`` is the process of
a running job (described by ``job``), ``project`` runs a project's own test cases.
"""
