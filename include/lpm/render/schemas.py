"""JSON Schemas of the configuration files, for editors (``# yaml-language-server: $schema=…``)."""

import json

from lpm.config import Config
from lpm.config.alerts import Alerts
from lpm.config.contacts import Contacts
from lpm.config.models import Companies, Environment, Model, Pipeline

FOLDER = "include/config/schemas"


def render(config: Config) -> dict[str, str]:
    """One schema for each kind of file. They depend on the models only, not on ``config``."""
    del config
    return {
        f"{FOLDER}/pipeline.schema.json": _schema(Pipeline),
        f"{FOLDER}/companies.schema.json": _schema(Companies),
        f"{FOLDER}/alerts.schema.json": _schema(Alerts),
        f"{FOLDER}/contacts.schema.json": _schema(Contacts),
        f"{FOLDER}/environment.schema.json": _schema(Environment, given_by_the_loader=("name",)),
    }


def _schema(model: type[Model], given_by_the_loader: tuple[str, ...] = ()) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    for name in given_by_the_loader:
        del schema["properties"][name]
        schema["required"].remove(name)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
