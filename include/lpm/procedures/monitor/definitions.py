"""A look at what was deployed: is it still what the configuration says, and for how long are its credentials good."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.credentials import expiry
from lpm.clients.databricks import DatabricksClient
from lpm.config import Config, Environment
from lpm.config.alerts import Alerts, load_alerts
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.deploy_stream import backfill_job_settings, find_differences, job_settings
from lpm.procedures.monitor.looks import attempt
from lpm.procedures.wheel import wheel_name
from lpm.render import names, stream_job
from lpm.render.alerts import ALERTS, alert_rules
from lpm.render.arm import templates

LINES_SHOWN = 5
SECONDS_PER_DAY = 86_400


def look_at_definitions(
    config: Config, environment: Environment, manager: ResourceManager, databricks: DatabricksClient
) -> tuple[Observation, ...]:
    """What deploying the rendered definitions would change, in Azure and on Databricks."""
    subject = Subject(kind="environment", name=environment.name)

    def look() -> Iterator[Observation]:
        lines = [*_azure(config, environment, manager), *_jobs(config, environment, databricks)]
        more = f" and {len(lines) - LINES_SHOWN} more" if len(lines) > LINES_SHOWN else ""
        detail = "; ".join(lines[:LINES_SHOWN]) + more
        yield Observation(signal="definition_drift", subject=subject, value=len(lines), detail=detail)

    return attempt(("definition_drift",), subject, look)


def look_at_credentials(environment: Environment, alerts: Alerts, now: datetime) -> tuple[Observation, ...]:
    """How long the credentials of the environment's Airflow connections are good, as far as anybody wrote it down."""
    subject = Subject(kind="environment", name=environment.name)

    def look() -> Iterator[Observation]:
        dates = expiry(connections(environment, alerts))
        known: Mapping[str, datetime] = {name: date for name, date in dates.items() if date}
        unknown = ", ".join(sorted(dates.keys() - known.keys()))
        first = min(known, key=lambda name: known[name], default=None)
        told = [f"{first} on {known[first]:%Y-%m-%d}"] if first else []
        detail = "; ".join([*told, *([f"without expires_on: {unknown}"] if unknown else [])])
        days = (known[first] - now).total_seconds() / SECONDS_PER_DAY if first else None
        yield Observation(signal="credential_days_left", subject=subject, value=days, detail=detail)

    return attempt(("credential_days_left",), subject, look)


def connections(environment: Environment, alerts: Alerts) -> tuple[str, ...]:
    """The Airflow connections that an environment needs."""
    served = [
        one for one in alerts.channels.values() if one.environments is None or environment.name in one.environments
    ]
    return (
        environment.azure.connection,
        environment.databricks.connection,
        environment.sql.connection,
        *([environment.evidence.connection] if environment.kind == "azure" else []),
        *sorted({channel.connection for channel in served if channel.connection}),
    )


def _azure(config: Config, environment: Environment, manager: ResourceManager) -> Iterator[str]:
    rendered = {**templates(config, environment), ALERTS: alert_rules(config, environment, load_alerts())}
    for name, template in rendered.items():
        document, parameters = template.document(), template.parameters_document()
        for change in manager.what_if(document, parameters, f"lpm-{name}"):
            yield str(change)


def _jobs(config: Config, environment: Environment, databricks: DatabricksClient) -> Iterator[str]:
    settings = stream_job.settings(config, environment, names.kafka_bootstrap(environment)).encode()
    digest = hashlib.sha256(settings).hexdigest()[:16]
    paths = f"{names.wheels_folder(environment)}/{wheel_name()}", names.settings_path(environment, digest)
    for wanted in (job_settings(config, environment, *paths), backfill_job_settings(config, environment, *paths)):
        name = wanted["name"]
        job = databricks.find_job(name)
        if job is None:
            yield f"Databricks job {name} does not exist"
            continue
        found = dict(job.settings)
        if job.is_paused:  # by control, on purpose: stream_job_down speaks of it
            found["continuous"] = {**found["continuous"], "pause_status": "UNPAUSED"}
        for line in find_differences(wanted, found):
            yield f"{name}: {line}"
