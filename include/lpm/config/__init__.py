"""The configuration: models, loading and errors. The YAML itself lives in ``include/config``."""

from lpm.config.errors import ConfigError, ConfigProblem
from lpm.config.loading import config_folder, enabled_environments, load_config
from lpm.config.models import Column, ColumnType, Company, Config, Environment, Pipeline, TableContract

__all__ = [
    "Column",
    "ColumnType",
    "Company",
    "Config",
    "ConfigError",
    "ConfigProblem",
    "Environment",
    "Pipeline",
    "TableContract",
    "config_folder",
    "enabled_environments",
    "load_config",
]
