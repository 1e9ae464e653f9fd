"""Read ``include/config`` and check it, all problems at once."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lpm.config.errors import ConfigError, ConfigProblem, Location, nearest
from lpm.config.models import Companies, Config, Environment, Model, Pipeline
from lpm.config.rules import Fault, check_together

ModelT = TypeVar("ModelT", bound=Model)


def config_folder() -> Path:
    """``include/config`` of this checkout, or the folder that ``LPM_CONFIG`` names."""
    return Path(os.environ.get("LPM_CONFIG") or Path(__file__).resolve().parents[2] / "config")


def enabled_environments(config: Config) -> list[str]:
    """Names from LPM_ENVIRONMENTS (comma between them), else those that the configuration enables.

    Raises:
        KeyError: LPM_ENVIRONMENTS names an environment that does not exist.
    """
    chosen = [name.strip() for name in os.environ.get("LPM_ENVIRONMENTS", "").split(",") if name.strip()]
    if chosen:
        return [config.environment(name).name for name in chosen]
    return [name for name, environment in config.environments.items() if environment.enabled]


@cache
def load_config(folder: Path | None = None) -> Config:
    """The checked configuration. Read once per process and folder.

    Raises:
        ConfigError: with every problem of every file.
    """
    folder = folder or config_folder()
    problems: list[ConfigProblem] = []
    pipeline_file = Source.read(folder, "pipeline.yml", problems)
    companies_file = Source.read(folder, "companies.yml", problems)
    pipeline = pipeline_file.parse(Pipeline, problems)
    companies = companies_file.parse(Companies, problems)
    environments: dict[str, Environment] = {}
    files: dict[str, Source] = {"pipeline.yml": pipeline_file, "companies.yml": companies_file}
    paths = sorted((folder / "environments").glob("*.yml"))
    if not paths:
        problems.append(
            ConfigProblem("environments", 1, "(folder)", "no environment found; expected environments/<name>.yml")
        )
    for path in paths:
        source = Source.read(folder, f"environments/{path.name}", problems)
        files[source.name] = source
        if environment := source.parse(Environment, problems, extra={"name": path.stem}):
            environments[path.stem] = environment
    if pipeline and companies:
        for fault in check_together(pipeline, companies, environments):
            source = files[fault.file]
            problems.append(
                ConfigProblem(
                    fault.file, source.line(fault.location), dotted(fault.location), fault.message, fault.hint
                )
            )
    if problems or not (pipeline and companies):
        raise ConfigError(problems)
    return Config(pipeline=pipeline, shards=companies.shards, companies=companies.companies, environments=environments)


def load_checked(
    folder: Path | None, file: str, model: type[ModelT], check: Callable[[ModelT, Config], Iterable[Fault]]
) -> ModelT:
    """A file of ``include/config`` that :func:`load_config` does not read, checked against what that reads.

    Args:
        folder: Where the configuration is; found as :func:`load_config` does when absent.
        file: Its name in that folder.
        model: What it may say.
        check: Every broken rule that needs more than one entry, or the rest of the configuration.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    folder = folder or config_folder()
    problems: list[ConfigProblem] = []
    config = None
    try:
        config = load_config(folder)
    except ConfigError as error:
        problems += error.problems
    source = Source.read(folder, file, problems)
    parsed = source.parse(model, problems)
    for fault in check(parsed, config) if parsed and config else ():
        place = source.line(fault.location)
        problems.append(ConfigProblem(fault.file, place, dotted(fault.location), fault.message, fault.hint))
    if parsed is None or problems:
        raise ConfigError(problems)
    return parsed


def dotted(location: Location) -> str:
    """A location as messages show it."""
    return ".".join(map(str, location)) or "(file)"


@dataclass
class Source:
    """One YAML file with the line of every key, so that a fault can be pointed at."""

    name: str
    data: Any
    lines: dict[Location, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, name: str, problems: list[ConfigProblem]) -> "Source":
        try:
            loader = yaml.CSafeLoader((folder / name).read_text(encoding="utf-8"))
            node = loader.get_single_node()
            source = cls(name, None, {})
            if node is None:
                problems.append(ConfigProblem(name, 1, "(file)", "the file is empty"))
                return source
            source._walk(node, (), problems)
            source.data = loader.construct_document(node)
            return source
        except OSError as error:
            problems.append(ConfigProblem(name, 1, "(file)", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            problems.append(ConfigProblem(name, 1, "(file)", f"is not UTF-8: {error.reason} at byte {error.start}"))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problems.append(ConfigProblem(name, line, "(file)", f"is not YAML: {error.problem}"))
        return cls(name, None)

    def _walk(self, node: yaml.Node, location: Location, problems: list[ConfigProblem]) -> None:
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                place = (*location, str(key.value))
                if str(key.value) in seen:  # YAML keeps the last one silently
                    problems.append(ConfigProblem(self.name, key.start_mark.line + 1, dotted(place), "is given twice"))
                seen.add(str(key.value))
                self.lines[place] = key.start_mark.line + 1
                self._walk(value, place, problems)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._walk(value, (*location, index), problems)

    def line(self, location: Location) -> int:
        """Line of the deepest known part of a location."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def parse(
        self, model: type[ModelT], problems: list[ConfigProblem], extra: Mapping[str, Any] | None = None
    ) -> ModelT | None:
        """The file as ``model``, or None after adding its faults to ``problems``."""
        if self.data is None:
            return None
        if not isinstance(self.data, dict):
            problems.append(ConfigProblem(self.name, 1, "(file)", "expected a mapping of keys to values"))
            return None
        try:
            return model.model_validate({**self.data, **(extra or {})})
        except ValidationError as error:
            for fault in error.errors():
                location = tuple(part for part in fault["loc"] if part != "function-after")
                problems.append(
                    ConfigProblem(
                        self.name, self.line(location), dotted(location), _message(fault), _nearest_key(model, fault)
                    )
                )
            return None


def _message(fault: Any) -> str:
    kind, given = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return message if isinstance(given, dict | list) else f"{message} (found {given!r})"


def _nearest_key(model: type[BaseModel], fault: Any) -> str | None:
    """For an unknown key, the closest key that would be valid in its place; for a choice, the closest choice."""
    if fault["type"] == "literal_error":
        choices = [choice.strip("'") for choice in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return nearest(str(fault["input"]), choices)
    if fault["type"] != "extra_forbidden":
        return None
    inner: Any = model
    for part in fault["loc"][:-1]:
        if isinstance(part, str) and inner is not None and part in inner.model_fields:
            inner = _model_within(inner.model_fields[part].annotation)
    return nearest(str(fault["loc"][-1]), _keys(inner)) if inner is not None else None


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model as a file spells them: some are words that Python keeps for itself."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as ``tuple[Column, ...]`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_within(part))), None)
