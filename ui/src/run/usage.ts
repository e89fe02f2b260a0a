// Tokens and cost of model nodes.
import { keepPreviousData, queryOptions, useQuery } from "@tanstack/react-query";
import type { ExecutionUsage, ExecutionView, WorkflowUsage } from "workflow-orchestration-client";
import { client } from "../app/client";

/** Tokens, and their cost in US dollars if all models have a price. */
export interface Tokens {
  promptTokens: number;
  completionTokens: number;
  totalTokens: number;
  costUsd: number | null;
}

/** Returns 4 and 4,000 for 4 and 4,321, so that a loop with thousands of items has few requests. */
const firstDigit = (count: number): number => {
  const unit = 10 ** Math.floor(Math.log10(Math.max(1, count)));
  return Math.floor(count / unit) * unit;
};

/** Returns the tokens of an execution and of its nodes; undefined if no node used a model. */
export function useUsage(
  executionId: string,
  execution: ExecutionView,
): ExecutionUsage | undefined {
  const ended = [...execution.nodes.values()].filter(
    ({ nodeType, status }) => nodeType === "llm" && status === "completed",
  ).length;
  const usage = useQuery({
    queryKey: ["usage", executionId, execution.active ? firstDigit(ended) : ended],
    enabled: ended > 0,
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) =>
      client.request<ExecutionUsage>(
        "GET",
        `/api/executions/${encodeURIComponent(executionId)}/usage`,
        { signal },
      ),
  });
  const isOwn = usage.data?.executionId === executionId && usage.data.totalTokens > 0;
  return isOwn ? usage.data : undefined;
}

export const workflowUsageQuery = (workflowId: string, limit: number) =>
  queryOptions({
    queryKey: ["workflow-usage", workflowId, limit],
    queryFn: ({ signal }) =>
      client.request<WorkflowUsage>(
        "GET",
        `/api/workflows/${encodeURIComponent(workflowId)}/usage`,
        { query: { limit }, signal },
      ),
  });

/** Returns the sum of tokens. The cost is known if each one is. */
export function sumOf(all: readonly Tokens[]): Tokens {
  const sum = (name: keyof Tokens) => all.reduce((total, tokens) => total + (tokens[name] ?? 0), 0);
  const isKnown = all.length > 0 && all.every(({ costUsd }) => costUsd !== null);
  return {
    promptTokens: sum("promptTokens"),
    completionTokens: sum("completionTokens"),
    totalTokens: sum("totalTokens"),
    costUsd: isKnown ? sum("costUsd") : null,
  };
}

/** Returns the counts of a text. */
export const countsOf = (tokens: Tokens, language: string): { input: string; output: string } => ({
  input: tokens.promptTokens.toLocaleString(language),
  output: tokens.completionTokens.toLocaleString(language),
});

export const formatTokens = (count: number, language: string): string =>
  new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 }).format(count);

export const formatCost = (usd: number, language: string): string =>
  new Intl.NumberFormat(language, {
    style: "currency",
    currency: "USD",
    currencyDisplay: "narrowSymbol",
    ...(usd >= 1 ? { maximumFractionDigits: 2 } : { maximumSignificantDigits: 2 }),
  }).format(usd);
