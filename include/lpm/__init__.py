"""EDG to LPM streaming: configuration, rendering, clients and procedures behind the Airflow DAGs."""
