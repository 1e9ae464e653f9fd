"""The ARM templates of every environment, and the parameters each is deployed with.

All environments share the same two templates byte for byte; what differs is in the parameters. Dev/Test therefore
proves what Prod deploys. The foundation (hubs, storage, the sender's roles) changes rarely; the router (Stream
Analytics jobs) changes with every company. Networking, monitoring and SQL servers become templates of their own.
"""

from collections.abc import Sequence

from lpm.config import Config, Environment
from lpm.render.arm.document import Template
from lpm.render.arm.foundation import foundation
from lpm.render.arm.router import router

FOUNDATION = "foundation"
ROUTER = "router"


def templates(config: Config, environment: Environment, shards: Sequence[str] | None = None) -> dict[str, Template]:
    """The templates of one environment by name, in the order they are deployed; ``shards`` is for the router's."""
    return {FOUNDATION: foundation(config, environment), ROUTER: router(config, environment, shards)}


def template_path(environment: str, name: str) -> str:
    """Where a rendered template lies, from the root of the repository."""
    return f"include/infra/{environment}/{name}.template.json"


def parameters_path(environment: str, name: str) -> str:
    """Where a template's rendered parameters lie, from the root of the repository."""
    return f"include/infra/{environment}/{name}.parameters.json"


def render(config: Config) -> dict[str, str]:
    """Templates and parameters of all environments: path from the root of the repository to text."""
    files: dict[str, str] = {}
    for environment in config.environments.values():
        for name, template in templates(config, environment).items():
            files[template_path(environment.name, name)] = template.text()
            files[parameters_path(environment.name, name)] = template.parameters_text()
    return files
