import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import type { WorkflowClient } from "./client.js";
import { type ExecutionFilter, isActive, type LogQuery, type ValidateRequest } from "./types.js";

const ROOT = "workflow-service";

/** Limits the payloads of a response: a larger one is a `TruncatedPayload`. */
export type PayloadLimit = Pick<LogQuery, "maxPayloadCharacters">;

/** The state of an execution; a finished one is never requested again. */
export const executionQuery = (client: WorkflowClient, id: string, limit?: PayloadLimit) =>
  queryOptions({
    queryKey: [ROOT, "execution", id, limit?.maxPayloadCharacters ?? null],
    queryFn: ({ signal }) => client.getExecution(id, limit, { signal }),
    staleTime: (query) =>
      query.state.data && !isActive(query.state.data.status) ? Number.POSITIVE_INFINITY : 0,
  });

/** The log of one node. `seq` selects its version; without a limit, its payloads are whole. */
export const nodeLogQuery = (
  client: WorkflowClient,
  id: string,
  nodeId: string,
  { seq, ...limit }: PayloadLimit & { seq?: number } = {},
) =>
  queryOptions({
    queryKey: [ROOT, "node-log", id, nodeId, seq ?? null, limit.maxPayloadCharacters ?? null],
    queryFn: async ({ signal }) =>
      (await client.getLogs(id, { nodeId, ...limit }, { signal })).logs[0] ?? null,
    staleTime: seq === undefined ? 0 : Number.POSITIVE_INFINITY,
  });

/** Pages of a list of executions. */
export const executionsQuery = (client: WorkflowClient, filter: ExecutionFilter = {}) =>
  infiniteQueryOptions({
    queryKey: [ROOT, "executions", filter],
    queryFn: ({ pageParam, signal }) =>
      client.listExecutions({ ...filter, cursor: pageParam ?? undefined }, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
  });

/** Pages of the list of workflows. */
export const workflowsQuery = (client: WorkflowClient, organizationId?: string) =>
  infiniteQueryOptions({
    queryKey: [ROOT, "workflows", organizationId ?? null],
    queryFn: ({ pageParam, signal }) =>
      client.listWorkflows({ organizationId, cursor: pageParam ?? undefined }, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
  });

/** A workflow with its document. */
export const workflowQuery = (client: WorkflowClient, id: string) =>
  queryOptions({
    queryKey: [ROOT, "workflow", id],
    queryFn: ({ signal }) => client.getWorkflow(id, { signal }),
  });

/** The node types, which change only when the service starts again. */
export const nodeTypesQuery = (client: WorkflowClient) =>
  queryOptions({
    queryKey: [ROOT, "node-types"],
    queryFn: ({ signal }) => client.nodeTypes({ signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The problems of a document. */
export const validationQuery = (client: WorkflowClient, request: ValidateRequest) =>
  queryOptions({
    queryKey: [ROOT, "validation", request],
    queryFn: ({ signal }) => client.validate(request, { signal }),
  });

/** A task with its form and its answers. */
export const taskQuery = (client: WorkflowClient, id: string) =>
  queryOptions({
    queryKey: [ROOT, "task", id],
    queryFn: ({ signal }) => client.getTask(id, { signal }),
  });

/** Pages of the list of schedules. */
export const schedulesQuery = (client: WorkflowClient, organizationId?: string) =>
  infiniteQueryOptions({
    queryKey: [ROOT, "schedules", organizationId ?? null],
    queryFn: ({ pageParam, signal }) =>
      client.listSchedules({ organizationId, cursor: pageParam ?? undefined }, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.nextCursor,
  });
