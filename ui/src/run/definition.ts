import { queryOptions } from "@tanstack/react-query";
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import { ServiceError } from "workflow-orchestration-client";
import { toEdges, toNodes, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { client } from "../app/client";

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
export const nodeIdOf = (runId: string): string => runId.replace(/(?:\[\d+\])+$/, "");

export function labelOf(document: WorkflowDocument | undefined, nodeId: string): string {
  const node = toNodes(document).find(({ id }) => id === nodeId);
  return (node?.data.label as string | undefined) ?? nodeId;
}

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

/** Explains why a node was skipped, by the nodes before it. */
export function skipReason(
  document: WorkflowDocument | undefined,
  execution: ExecutionView | undefined,
  nodeId: string,
): Reason | null {
  const edges = toEdges(document).filter(({ target }) => target === nodeId);
  for (const { source, sourceHandle } of edges) {
    const log = execution?.nodes.get(source);
    const values = { node: log?.nodeLabel ?? labelOf(document, source), port: sourceHandle ?? "" };
    if (log?.status === "skipped") return { text: "“{{node}}” was skipped", values };
    if (sourceHandle?.toLowerCase() === "error" && log?.status === "completed")
      return { text: "“{{node}}” did not fail", values };
    if (log?.status === "error") return { text: "“{{node}}” failed", values };
    if (log?.status === "completed" && sourceHandle)
      return { text: "“{{node}}” did not choose “{{port}}”", values };
  }
  return edges.length === 0 ? { text: "This start was not fired", values: {} } : null;
}
