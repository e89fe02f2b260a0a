import { type ExecutionMessage, isActive, type NodeLog, type Progress } from "./types.js";

/** The state of an execution, as far as it has arrived. A new object after every change. */
export interface ExecutionView {
  executionId: string;
  workflowId: string | null;
  organizationId: string | null;
  status: ExecutionMessage["status"];
  /** Whether it has not ended. */
  active: boolean;
  seq: number;
  progress: Progress;
  currentNodeId: string | null;
  error: string | null;
  finalOutput: unknown;
  /** It was deleted while it was followed. */
  deleted: boolean;
  /** The node runs by node id, in the order of their start. Large payloads are left out. */
  nodes: ReadonlyMap<string, NodeLog>;
  /** Number of older node runs that are not in `nodes`. */
  omittedNodes: number;
}

const NO_PROGRESS: Progress = {
  totalNodes: 0,
  completedNodes: 0,
  failedNodes: 0,
  skippedNodes: 0,
  percentage: 0,
};

/** Returns the state after some messages. */
export function reduce(
  view: ExecutionView | undefined,
  messages: readonly ExecutionMessage[],
): ExecutionView | undefined {
  let next = view;
  for (const message of messages) {
    const { status } = message;
    // A snapshot replaces everything, because node runs may have been deleted by a new start.
    const nodes = new Map(message.snapshot ? [] : next?.nodes);
    for (const log of message.logs ?? []) {
      // A log may arrive again with the events that led to it.
      const known = log.nodeId === null ? undefined : nodes.get(log.nodeId);
      if (log.nodeId !== null && !(known && known.seq > log.seq)) nodes.set(log.nodeId, log);
    }
    next = {
      executionId: message.executionId,
      workflowId: message.workflowId ?? next?.workflowId ?? null,
      organizationId: message.organizationId ?? next?.organizationId ?? null,
      status,
      active: isActive(status),
      seq: message.seq ?? next?.seq ?? 0,
      progress: message.progress ?? next?.progress ?? NO_PROGRESS,
      currentNodeId: message.currentNodeId ?? null,
      error: message.error ?? null,
      finalOutput: message.finalOutput ?? null,
      deleted: message.deleted ?? false,
      nodes,
      omittedNodes: message.omittedLogs ?? (message.snapshot ? 0 : (next?.omittedNodes ?? 0)),
    };
  }
  return next;
}
