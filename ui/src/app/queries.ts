import { queryOptions } from "@tanstack/react-query";
import type { PastRun } from "../components/Trends";
import { client } from "./client";

/** The last executions of a workflow. */
export const pastRunsQuery = (workflowId: string, limit: number) =>
  queryOptions({
    queryKey: ["past-runs", workflowId, limit],
    queryFn: ({ signal }) =>
      client.request<{ executions: PastRun[]; total: number }>(
        "GET",
        `/api/workflows/${encodeURIComponent(workflowId)}/executions`,
        { query: { limit }, signal },
      ),
  });
