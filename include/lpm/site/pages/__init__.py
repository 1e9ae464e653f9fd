"""Generated pages: each module has ``pages(facts)``, a pure function of the facts."""

from types import ModuleType

from lpm.site.pages import (
    benchmarks,
    command_reference,
    configuration_reference,
    dag_reference,
    environments,
    router,
    source,
)

GENERATED: tuple[ModuleType, ...] = (
    environments,
    source,
    router,
    dag_reference,
    configuration_reference,
    command_reference,
    benchmarks,
)
