"""Node catalog: describes the form, the ports and the defaults of each node type."""

import inspect
import re
from dataclasses import dataclass, replace

from engine.json_values import as_text
from engine.ports import Ports
from tasks.config.base import NodeConfig
from tasks.config.json_schema import ConfigSchema, describe_config, plain
from tasks.registry import NodeTypes


@dataclass(frozen=True, slots=True)
class DescribedType:
    """Description of one node type for the editor."""

    type: str
    title: str
    description: str
    category: str
    ports: Ports
    config: ConfigSchema
    disabled_reason: str | None
    """The reason why documents with this type are rejected; ``None`` if they are accepted."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(port.name for port in self.ports.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, without ``error``."""
        return tuple(port.name for port in self.ports.outputs)


def describe_node_types(node_types: NodeTypes) -> list[DescribedType]:
    """Return every type with a handler; types without a config model have the common options."""
    return [_describe(node_types, node_type) for node_type in node_types.known]


def _describe(node_types: NodeTypes, node_type: str) -> DescribedType:
    handler, model = node_types.handler(node_type), node_types.config(node_type)
    title = model.model_config.get("title") or _title_of(handler.name)
    docstring = None if model is NodeConfig else model.__doc__
    description = plain(docstring or _first_paragraph(inspect.getdoc(handler.fn)))
    config = describe_config(model)
    # The form shows the default values of common options as placeholders.
    placeholders = {
        key: {**config.ui_schema.get(key, {}), "ui:placeholder": as_text(value)}
        for key, value in node_types.option_defaults(node_type).items()
    }
    return DescribedType(
        type=node_type,
        title=title,
        description=description,
        category=model.info.category,
        ports=model.info.ports,
        config=replace(
            config,
            schema={**config.schema, "title": title, "description": description},
            ui_schema={**config.ui_schema, **placeholders},
        ),
        disabled_reason=node_types.disabled_reason(node_type),
    )


def _title_of(name: str) -> str:
    """Return ``My custom node`` for ``my_custom_node`` and ``myCustomNode``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").split()
    return " ".join(words).capitalize()


def _first_paragraph(text: str | None) -> str:
    return (text or "").partition("\n\n")[0]
