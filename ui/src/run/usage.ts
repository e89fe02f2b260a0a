// Tokens and cost of model nodes.
import { keepPreviousData, queryOptions, useQueries, useQuery } from "@tanstack/react-query";
import type { TFunction } from "i18next";
import type { ExecutionUsage, ExecutionView, WorkflowUsage } from "workflow-orchestration-client";
import { client } from "../app/client";
import type { Placed } from "./frames";
import { parseRunId } from "./loops";

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

function usageQuery(executionId: string, execution: ExecutionView | undefined) {
  const ended = [...(execution?.nodes.values() ?? [])].filter(
    ({ nodeType, status }) => nodeType === "llm" && status === "completed",
  ).length;
  return queryOptions({
    queryKey: ["usage", executionId, execution?.active ? firstDigit(ended) : ended],
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
}

/** Returns the tokens of an execution and of its nodes; undefined if no node used a model. */
export function useUsage(
  executionId: string,
  execution: ExecutionView,
): ExecutionUsage | undefined {
  const usage = useQuery(usageQuery(executionId, execution));
  const isOwn = usage.data?.executionId === executionId && usage.data.totalTokens > 0;
  return isOwn ? usage.data : undefined;
}

/** Returns a function that returns the tokens of a node, of all its shown runs together. */
export function useNodeUsage(
  executions: readonly (ExecutionView | undefined)[],
): (placed: Placed) => Tokens | undefined {
  const queries = executions.map((execution) =>
    usageQuery(execution?.executionId ?? "", execution),
  );
  const results = useQueries({ queries });
  return (placed) => {
    if (placed.node.type !== "llm") return undefined;
    const usage = results.find(({ data }) => data?.executionId === placed.executionId)?.data;
    const runs = usage?.nodes.filter(({ nodeId }) => {
      if (nodeId === null) return false;
      if (placed.isOneRun) return nodeId === placed.runId;
      const run = parseRunId(nodeId);
      return run.nodeId === placed.nodeId && run.path.startsWith(placed.path);
    });
    return runs && runs.length > 0 ? sumOf(runs) : undefined;
  };
}

/** Returns the tokens and the cost in a few characters. */
export const usageText = (tokens: Tokens, t: TFunction, language: string): string => {
  const number = formatTokens(tokens.totalTokens, language);
  const cost = tokens.costUsd === null ? "" : ` · ${formatCost(tokens.costUsd, language)}`;
  return t("{{number}} tokens", { number }) + cost;
};

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
