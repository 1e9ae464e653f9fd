"""An ARM template as a document: parameters with their values, variables, resources and outputs.

A template and its parameter file come from one definition, so neither can name a parameter the other lacks.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]  # one ARM document or a part of it; its shape is Microsoft's, not ours

SCHEMAS = "https://schema.management.azure.com/schemas/2019-04-01"
TEMPLATE_SCHEMA = f"{SCHEMAS}/deploymentTemplate.json#"
PARAMETERS_SCHEMA = f"{SCHEMAS}/deploymentParameters.json#"
CONTENT_VERSION = "1.0.0.0"
GENERATOR: Json = {"_generator": {"name": "lpm render", "source": "include/config"}}


@dataclass(frozen=True)
class Parameter:
    """A template parameter and the value this environment gives it."""

    name: str
    type: Literal["string", "int", "bool", "object", "array"]
    value: Any
    description: str


@dataclass(frozen=True)
class Template:
    """One template with this environment's parameter values."""

    description: str
    parameters: tuple[Parameter, ...]
    resources: tuple[Json, ...]
    variables: Json = field(default_factory=dict)
    outputs: Json = field(default_factory=dict)

    def document(self) -> Json:
        """The template as ARM takes it."""
        return {
            "$schema": TEMPLATE_SCHEMA,
            "contentVersion": CONTENT_VERSION,
            "metadata": {**GENERATOR, "description": self.description},
            "parameters": {
                parameter.name: {"type": parameter.type, "metadata": {"description": parameter.description}}
                for parameter in self.parameters
            },
            "variables": self.variables,
            "resources": list(self.resources),
            "outputs": self.outputs,
        }

    def parameters_document(self) -> Json:
        """The parameter file as ARM takes it."""
        return {
            "$schema": PARAMETERS_SCHEMA,
            "contentVersion": CONTENT_VERSION,
            "metadata": GENERATOR,
            "parameters": {parameter.name: {"value": parameter.value} for parameter in self.parameters},
        }

    def text(self) -> str:
        """The template file."""
        return _text(self.document())

    def parameters_text(self) -> str:
        """The parameter file."""
        return _text(self.parameters_document())


def expression(code: str) -> str:
    """A value that ARM computes."""
    return f"[{code}]"


def literal(text: str) -> str:
    """A value that ARM takes as it is, even when it looks like an expression."""
    return f"[{text}" if text.startswith("[") and text.endswith("]") else text


def quoted(text: str) -> str:
    """A string inside an expression."""
    return "'" + text.replace("'", "''") + "'"


def parameter(name: str) -> str:
    """A parameter inside an expression."""
    return f"parameters({quoted(name)})"


def variable(name: str) -> str:
    """A variable inside an expression."""
    return f"variables({quoted(name)})"


def resource_id(type_name: str, *names: str) -> str:
    """The id of a resource of this resource group, inside an expression; the names are expressions too."""
    return f"resourceId({', '.join([quoted(type_name), *names])})"


def child_name(*names: str) -> str:
    """The name of a child resource: its parents' names and its own."""
    pattern = "/".join(f"{{{position}}}" for position in range(len(names)))
    return expression(f"format({', '.join([quoted(pattern), *names])})")


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
