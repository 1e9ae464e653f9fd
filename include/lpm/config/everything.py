"""Every file of ``include/config``, for whoever wants all its problems at once."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lpm.config.alerts import Alerts, load_alerts
from lpm.config.assessment import Assessment, load_assessment
from lpm.config.contacts import Contacts, load_contacts
from lpm.config.errors import ConfigError, ConfigProblem
from lpm.config.loading import load_config
from lpm.config.models import Companies, Environment, Model, Pipeline
from lpm.config.reviews import Reviews, load_reviews
from lpm.config.test_plan import TestPlan, load_test_plan

ENVIRONMENT_FILE = "environments/<name>.yml"
FILES: Mapping[str, type[Model]] = {
    "pipeline.yml": Pipeline,
    "companies.yml": Companies,
    ENVIRONMENT_FILE: Environment,
    "alerts.yml": Alerts,
    "contacts.yml": Contacts,
    "assessment.yml": Assessment,
    "reviews.yml": Reviews,
    "test_plan.yml": TestPlan,
}
# Those that load_config does not read: the DAG files can do without them.
LOADERS: tuple[Callable[[Path | None], Model], ...] = (
    load_config,
    load_alerts,
    load_contacts,
    load_assessment,
    load_reviews,
    load_test_plan,
)


def check_everything(folder: Path | None = None) -> None:
    """Read every file.

    Raises:
        ConfigError: with every problem of every file, each once.
    """
    problems: dict[ConfigProblem, None] = {}
    for load in LOADERS:
        try:
            load(folder)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(list(problems))
