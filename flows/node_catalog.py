"""What the editor is told of each node type: its form, its ports, its defaults."""

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
    """One node type as the editor needs it."""

    type: str
    title: str
    description: str
    category: str
    ports: Ports
    config: ConfigSchema
    off: str | None
    """Why documents with this type are refused here; ``None`` where they are not."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs."""
        return tuple(port.name for port in self.ports.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, without ``error``."""
        return tuple(port.name for port in self.ports.outputs)


def catalogue(node_types: NodeTypes) -> list[DescribedType]:
    """Every type that has a handler, by name; one without a config model has its common options."""
    return [_describe(node_types, node_type) for node_type in node_types.known]


def _describe(node_types: NodeTypes, node_type: str) -> DescribedType:
    handler, model = node_types.handler(node_type), node_types.config(node_type)
    title = model.model_config.get("title") or _in_words(handler.name)
    written = None if model is NodeConfig else model.__doc__
    description = plain(written or _first_paragraph(inspect.getdoc(handler.fn)))
    config = describe_config(model)
    # Where a common option is not set, the form shows what it then is.
    unset = {
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
            ui_schema={**config.ui_schema, **unset},
        ),
        off=node_types.disabled_reason(node_type),
    )


def _in_words(name: str) -> str:
    """``my_custom_node`` and ``myCustomNode`` as a title: ``My custom node``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").replace("-", " ").split()
    return " ".join(words).capitalize()


def _first_paragraph(text: str | None) -> str:
    return (text or "").partition("\n\n")[0]
