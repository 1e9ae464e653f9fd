"""Generated pages: each module has ``pages(facts)``, a pure function of the facts."""

from types import ModuleType

from lpm.site.pages import (
    alert_catalogue,
    baseline,
    benchmarks,
    command_reference,
    configuration_reference,
    dag_reference,
    environments,
    escalation,
    reviews,
    router,
    source,
    traceability,
    validation,
)

GENERATED: tuple[ModuleType, ...] = (
    alert_catalogue,
    escalation,
    environments,
    source,
    router,
    dag_reference,
    configuration_reference,
    command_reference,
    benchmarks,
    baseline,
    validation,
    traceability,
    reviews,
)
