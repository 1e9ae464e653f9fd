"""JSON Schemas of the configuration files, for editors (``# yaml-language-server: $schema=…``)."""

import json

from lpm.config import Config
from lpm.config.everything import ENVIRONMENT_FILE, FILES
from lpm.config.models import Model

FOLDER = "include/config/schemas"


def render(config: Config) -> dict[str, str]:
    """One schema for each kind of file. They depend on the models only, not on ``config``."""
    del config
    return {f"{FOLDER}/{_kind(file)}.schema.json": _schema(file, model) for file, model in FILES.items()}


def _kind(file: str) -> str:
    return "environment" if file == ENVIRONMENT_FILE else file.removesuffix(".yml")


def _schema(file: str, model: type[Model]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    if file == ENVIRONMENT_FILE:  # the name is the file's own
        del schema["properties"]["name"]
        schema["required"].remove("name")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
