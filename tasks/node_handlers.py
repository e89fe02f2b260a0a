"""The registry of node types. A type is added by putting its handler here; see the README."""

from typing import Any

from prefect import Task
from pydantic import BaseModel

from tasks.aggregation import AggregateConfig, handle_aggregate
from tasks.columns import (
    RenameColumnsConfig,
    SplitColumnsConfig,
    handle_rename_columns,
    handle_split_columns,
)
from tasks.configs import (
    AddFieldConfig,
    CommentConfig,
    ConditionConfig,
    HttpConfig,
    JoinConfig,
    LlmConfig,
    ManualInputConfig,
    OutputConfig,
    TriggerConfig,
    WebhookConfig,
)
from tasks.entry import (
    handle_comment,
    handle_manual_input,
    handle_output,
    handle_trigger,
    handle_webhook,
)
from tasks.filtering import FilterConfig, handle_filter
from tasks.flow_control import handle_condition
from tasks.http import handle_http
from tasks.llm import handle_llm
from tasks.records import handle_add_field, handle_join
from tasks.waiting import ApprovalConfig, WaitConfig, handle_approval, handle_wait
from tasks.webhook_response import WebhookResponseConfig, handle_webhook_response

NODE_HANDLERS: dict[str, Task[..., Any]] = {
    "trigger": handle_trigger,
    "manualInput": handle_manual_input,
    "output": handle_output,
    "http": handle_http,
    "llm": handle_llm,
    "condition": handle_condition,
    "addField": handle_add_field,
    "join": handle_join,
    "splitColumns": handle_split_columns,
    "renameColumns": handle_rename_columns,
    "filter": handle_filter,
    "aggregate": handle_aggregate,
    "webhook": handle_webhook,
    "webhookResponse": handle_webhook_response,
    "wait": handle_wait,
    "approval": handle_approval,
    "comment": handle_comment,
}
"""The handler of each node type: an async or sync Prefect task ``(node, input_data) -> result``."""

NODE_CONFIGS: dict[str, type[BaseModel]] = {
    "trigger": TriggerConfig,
    "manualInput": ManualInputConfig,
    "output": OutputConfig,
    "http": HttpConfig,
    "llm": LlmConfig,
    "condition": ConditionConfig,
    "addField": AddFieldConfig,
    "join": JoinConfig,
    "splitColumns": SplitColumnsConfig,
    "renameColumns": RenameColumnsConfig,
    "filter": FilterConfig,
    "aggregate": AggregateConfig,
    "webhook": WebhookConfig,
    "webhookResponse": WebhookResponseConfig,
    "wait": WaitConfig,
    "approval": ApprovalConfig,
    "comment": CommentConfig,
}
"""The typed config of a node type. A type without one is checked for the common options only."""
