"""The published JSON Schemas agree with the models."""

import json

from lpm.config import config_folder, load_config
from lpm.render import schemas


def test_a_schema_exists_for_each_kind_of_file_and_refuses_unknown_keys() -> None:
    rendered = schemas.render(load_config())
    files = {path.stem for path in config_folder().glob("*.yml")}
    assert {path.rsplit("/", 1)[1] for path in rendered} == {f"{kind}.schema.json" for kind in (*files, "environment")}
    for text in rendered.values():
        assert json.loads(text)["additionalProperties"] is False


def test_the_environment_schema_does_not_ask_for_what_the_loader_fills_in() -> None:
    rendered = schemas.render(load_config())
    schema = json.loads(rendered["include/config/schemas/environment.schema.json"])
    assert "name" not in schema["properties"]
    assert "name" not in schema["required"]
