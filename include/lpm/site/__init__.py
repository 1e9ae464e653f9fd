"""Pages of the runbook site, made from the configuration and from evidence; nothing here imports MkDocs or Airflow."""
