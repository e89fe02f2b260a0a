import { queryOptions } from "@tanstack/react-query";
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import { ServiceError } from "workflow-orchestration-client";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { client } from "../app/client";
import { parseRunId } from "./loops";
import { partsOf } from "./parts";

export interface Definition {
  workflowName: string;
  data: WorkflowDocument;
}

/** The document that an execution runs. Null if another program created the execution. */
export const definitionQuery = (executionId: string) =>
  queryOptions({
    queryKey: ["definition", executionId],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }): Promise<Definition | null> => {
      try {
        return await client.request<Definition>(
          "GET",
          `/api/executions/${encodeURIComponent(executionId)}/definition`,
          { signal },
        );
      } catch (error) {
        if (ServiceError.from(error).status === 404) return null;
        throw error;
      }
    },
  });

/** The id of the node of a run: in a loop, the position of the item follows it. */
export const nodeIdOf = (runId: string): string => parseRunId(runId).nodeId;

/** The node runs of a node: one, or one for each item of a loop. */
export function runsOf(execution: ExecutionView | undefined, nodeId: string): NodeLog[] {
  const own = execution?.nodes.get(nodeId);
  const items: NodeLog[] = [];
  for (const [id, log] of execution?.nodes ?? [])
    if (id !== nodeId && nodeIdOf(id) === nodeId) items.push(log);
  // The end of a loop adds a run without times for each node in its body.
  return items.length > 0 || !own ? items : [own];
}

export interface Reason {
  text: string;
  values: Record<string, string>;
}

/**
 * Explains why a node run was skipped, by the nodes before it. A node behind other skipped nodes has
 * the reason of the first one.
 */
export function skipReason(
  document: WorkflowDocument | undefined,
  execution: ExecutionView | undefined,
  runId: string,
): Reason | null {
  if (!document) return null;
  const { incoming, loops } = partsOf(document);
  const seen = new Set<string>();
  const reasonOf = (nodeId: string, path: string): Reason | null => {
    if (seen.has(nodeId)) return null;
    seen.add(nodeId);
    const before = incoming.get(nodeId) ?? [];
    let last: Reason | null = null;
    for (const { source, sourceHandle } of before) {
      // The loop around the node is not one of the nodes of its item.
      if (loops.bodies.get(source)?.has(nodeId)) continue;
      const log = execution?.nodes.get(source + path);
      const values = {
        node: log?.nodeLabel ?? source,
        port: sourceHandle ?? "",
      };
      if (log?.status === "skipped") last ??= reasonOf(source, path);
      else if (sourceHandle?.toLowerCase() === "error" && log?.status === "completed")
        return { text: "“{{node}}” did not fail", values };
      else if (log?.status === "error") return { text: "“{{node}}” failed", values };
      else if (log?.status === "completed" && sourceHandle)
        return { text: "“{{node}}” did not choose “{{port}}”", values };
    }
    return last ?? (before.length === 0 ? { text: "This start was not fired", values: {} } : null);
  };
  const { nodeId, path } = parseRunId(runId);
  return reasonOf(nodeId, path);
}
