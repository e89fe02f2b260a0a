"""Node handlers: the handler and the config of each node type; the README shows how to add one."""

from typing import Any

from prefect import Task

from tasks.code.node import CodeConfig, PythonConfig, handle_code, handle_python
from tasks.config.base import NodeConfig
from tasks.email.node import SendEmailConfig, handle_send_email
from tasks.flow.approval import (
    ApprovalConfig,
    HumanApprovalConfig,
    handle_approval,
    handle_human_approval,
)
from tasks.flow.condition import ConditionConfig, handle_condition
from tasks.flow.entry import (
    CommentConfig,
    ManualInputConfig,
    OutputConfig,
    TriggerConfig,
    handle_comment,
    handle_manual_input,
    handle_output,
    handle_trigger,
)
from tasks.flow.for_each import ForEachConfig, handle_for_each
from tasks.flow.schedule import ScheduleConfig, handle_schedule
from tasks.flow.subworkflow import SubworkflowConfig, handle_subworkflow
from tasks.flow.switch import SwitchConfig, handle_switch
from tasks.flow.wait import WaitConfig, handle_wait
from tasks.flow.wait_for_event import WaitForEventConfig, handle_wait_for_event
from tasks.http.config import HttpConfig
from tasks.http.node import handle_http
from tasks.llm.node import LlmConfig, handle_llm
from tasks.records.add_field import AddFieldConfig, handle_add_field
from tasks.records.aggregate import AggregateConfig, handle_aggregate
from tasks.records.columns import (
    RenameColumnsConfig,
    SplitTextConfig,
    handle_rename_columns,
    handle_split_text,
)
from tasks.records.filter import FilterConfig, handle_filter
from tasks.records.join import JoinConfig, handle_join
from tasks.records.split_columns import SplitColumnsConfig, handle_split_columns
from tasks.sql.node import SqlConfig, handle_sql
from tasks.webhooks.node import WebhookConfig, handle_webhook
from tasks.webhooks.response import WebhookResponseConfig, handle_webhook_response

NODE_HANDLERS: dict[str, Task[..., Any]] = {
    "trigger": handle_trigger,
    "manualInput": handle_manual_input,
    "output": handle_output,
    "http": handle_http,
    "llm": handle_llm,
    "sql": handle_sql,
    "sendEmail": handle_send_email,
    "condition": handle_condition,
    "switch": handle_switch,
    "addField": handle_add_field,
    "forEach": handle_for_each,
    "join": handle_join,
    "splitColumns": handle_split_columns,
    "splitText": handle_split_text,
    "renameColumns": handle_rename_columns,
    "filter": handle_filter,
    "aggregate": handle_aggregate,
    "code": handle_code,
    "python": handle_python,
    "webhook": handle_webhook,
    "schedule": handle_schedule,
    "webhookResponse": handle_webhook_response,
    "wait": handle_wait,
    "waitForEvent": handle_wait_for_event,
    "approval": handle_approval,
    "humanApproval": handle_human_approval,
    "subworkflow": handle_subworkflow,
    "comment": handle_comment,
}
"""The handler of each node type: an async or sync Prefect task ``(node, input_data) -> result``."""

NODE_CONFIGS: dict[str, type[NodeConfig]] = {
    "trigger": TriggerConfig,
    "manualInput": ManualInputConfig,
    "output": OutputConfig,
    "http": HttpConfig,
    "llm": LlmConfig,
    "sql": SqlConfig,
    "sendEmail": SendEmailConfig,
    "condition": ConditionConfig,
    "switch": SwitchConfig,
    "addField": AddFieldConfig,
    "forEach": ForEachConfig,
    "join": JoinConfig,
    "splitColumns": SplitColumnsConfig,
    "splitText": SplitTextConfig,
    "renameColumns": RenameColumnsConfig,
    "filter": FilterConfig,
    "aggregate": AggregateConfig,
    "code": CodeConfig,
    "python": PythonConfig,
    "webhook": WebhookConfig,
    "schedule": ScheduleConfig,
    "webhookResponse": WebhookResponseConfig,
    "wait": WaitConfig,
    "waitForEvent": WaitForEventConfig,
    "approval": ApprovalConfig,
    "humanApproval": HumanApprovalConfig,
    "subworkflow": SubworkflowConfig,
    "comment": CommentConfig,
}
"""The config model of each node type. Without a model, only the common options are checked."""


def register(
    node_type: str, handler: Task[..., Any], config: type[NodeConfig] = NodeConfig
) -> None:
    """Add a node type; its config model describes it to the editor and validates its nodes.

    Raises:
        ValueError: If the registration is invalid, or the name belongs to another type.
    """
    if reason := _registration_error(node_type, handler, config):
        raise ValueError(reason)
    if NODE_HANDLERS.get(node_type, handler) is not handler:
        raise ValueError(f"the node type '{node_type}' is already registered")
    NODE_HANDLERS[node_type] = handler
    NODE_CONFIGS[node_type] = config


def _registration_error(node_type: object, handler: object, config: object) -> str | None:
    """Return why a registration is invalid, because the caller may not use a type checker."""
    if not node_type or not isinstance(node_type, str):
        return f"{node_type!r} is not a valid node type name"
    if not isinstance(handler, Task):
        return f"the handler of '{node_type}' is not a Prefect task: add @task"
    if not isinstance(config, type) or not issubclass(config, NodeConfig):
        return f"the config of '{node_type}' is not a NodeConfig"
    return None
