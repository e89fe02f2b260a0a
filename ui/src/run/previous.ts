// The execution with which a node run is compared.
import { queryOptions } from "@tanstack/react-query";
import type { ExecutionStatus, NodeLog } from "workflow-orchestration-client";
import { client, queryClient } from "../app/client";
import { isUnsaved } from "../app/ids";
import { detailsQuery, shownLogQuery } from "./payloads";

/** Maximum number of earlier executions that are searched for a run of the node. */
const MAX_SEARCHED = 5;
const ENDED: ExecutionStatus[] = ["completed", "failed"];

export interface PreviousRun {
  executionId: string;
  log: NodeLog;
}

/** Returns executions to compare with: the one that it reran, or earlier ones of its workflow. */
async function candidatesOf(executionId: string, signal: AbortSignal): Promise<string[]> {
  const { rerunOf, workflowId, createdAt } = await queryClient.fetchQuery(
    detailsQuery(executionId),
  );
  if (rerunOf) return [rerunOf];
  // Unsaved documents share one workflow, so that the one before is a different document.
  if (!workflowId || !createdAt || isUnsaved(workflowId)) return [];
  const { executions } = await client.listExecutions(
    { workflowId, createdTo: createdAt, status: ENDED, limit: MAX_SEARCHED },
    { signal },
  );
  return executions.map(({ id }) => id);
}

/** The last earlier run of a node; `null` if there is none. */
export const previousRunQuery = (executionId: string, nodeId: string) =>
  queryOptions({
    queryKey: ["previous-run", executionId, nodeId],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }): Promise<PreviousRun | null> => {
      for (const id of await candidatesOf(executionId, signal)) {
        const log = await queryClient.fetchQuery(shownLogQuery(id, nodeId));
        if (log && log.status !== "skipped") return { executionId: id, log };
      }
      return null;
    },
  });
