"""Model usage schemas: tokens and cost of model nodes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from api.schemas.base import ApiModel
from database.queries.model_usage import ModelUsage
from setting_types import ModelPrice

_COST_DIGITS = 8
Prices = Mapping[str, ModelPrice]
"""Prices by the name of the model."""


class TokensResponse(ApiModel):
    """Tokens, and their cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None = Field(
        description="In US dollars, by `LLM_PRICES`; null if a model without a price was used."
    )


class NodeUsageResponse(TokensResponse):
    """Tokens of one node run."""

    node_id: str | None
    model: str


class ExecutionTokensResponse(TokensResponse):
    """Tokens of one execution, without those of executions that it called."""

    execution_id: str


class ExecutionUsageResponse(ExecutionTokensResponse):
    """``GET /api/executions/{id}/usage``."""

    nodes: list[NodeUsageResponse] = Field(description="The node runs that used a model.")


class WorkflowUsageResponse(ApiModel):
    """``GET /api/workflows/{id}/usage``."""

    workflow_id: str
    executions: list[ExecutionTokensResponse] = Field(
        description="Those of the last executions that used a model, newest first."
    )


def execution_usage(
    execution_id: str, usages: Sequence[ModelUsage], prices: Prices
) -> ExecutionUsageResponse:
    """Return the tokens of an execution and of its node runs."""
    nodes = [
        NodeUsageResponse(
            node_id=usage.node_id, model=usage.model, **_sum([usage], prices).model_dump()
        )
        for usage in usages
    ]
    total = _sum(usages, prices).model_dump()
    return ExecutionUsageResponse(execution_id=execution_id, nodes=nodes, **total)


def workflow_usage(
    workflow_id: str,
    execution_ids: Iterable[str],
    usages: Iterable[ModelUsage],
    prices: Prices,
) -> WorkflowUsageResponse:
    """Return the tokens of executions, in the order of their ids."""
    by_execution: defaultdict[str, list[ModelUsage]] = defaultdict(list)
    for usage in usages:
        by_execution[usage.execution_id].append(usage)
    executions = [
        ExecutionTokensResponse(execution_id=i, **_sum(by_execution[i], prices).model_dump())
        for i in execution_ids
        if i in by_execution
    ]
    return WorkflowUsageResponse(workflow_id=workflow_id, executions=executions)


def _sum(usages: Sequence[ModelUsage], prices: Prices) -> TokensResponse:
    costs = [
        price.cost(usage.prompt_tokens, usage.completion_tokens)
        for usage in usages
        if (price := prices.get(usage.model)) is not None
    ]
    has_all_prices = len(costs) == len(usages) > 0
    return TokensResponse(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        total_tokens=sum(usage.total_tokens for usage in usages),
        cost_usd=round(sum(costs), _COST_DIGITS) if has_all_prices else None,
    )
