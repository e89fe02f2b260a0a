import type { Edge, Node } from "@xyflow/react";
import type { NodeLog } from "../types.js";
import type { ExecutionView } from "../view.js";
import { toEdges, toNodes, type WorkflowDocument } from "./document.js";

export type RunStatus = "initial" | "loading" | "success" | "error" | "skipped" | "waiting";

/** `data.run` of a node. */
export interface NodeRun {
  status: RunStatus;
  /** Milliseconds; null while it has not ended. */
  duration: number | null;
  attempt: number;
  error: string | null;
  startedAt: string | null;
  /** Progress that the handler reports, or the finished items of a loop. */
  percentage: number | null;
  message: string | null;
  /** The execution whose result was reused. */
  reusedFrom: string | null;
  childExecutionId: string | null;
  /** Of a node inside a loop: how many of its runs have which status. */
  items: Partial<Record<RunStatus, number>> | null;
}

/** `data.run` of an edge: `taken` carried data, `skipped` leads to a node that did not run. */
export interface EdgeRun {
  status: "initial" | "loading" | "taken" | "error" | "skipped";
}

const STATUSES: Record<string, RunStatus> = {
  running: "loading",
  waiting: "waiting",
  completed: "success",
  error: "error",
  cancelled: "error",
  skipped: "skipped",
};
const INITIAL: NodeRun = {
  status: "initial",
  duration: null,
  attempt: 0,
  error: null,
  startedAt: null,
  percentage: null,
  message: null,
  reusedFrom: null,
  childExecutionId: null,
  items: null,
};
/** The run of an item of a loop: the node's id and the position of the item. */
const ITEM = /^(.*?)((?:\[\d+\])+)$/s;
/** Which of the items of a loop decides the status that the node shows, the first one wins. */
const PRIORITY: readonly RunStatus[] = [
  "loading",
  "waiting",
  "error",
  "success",
  "skipped",
  "initial",
];

function runOf(log: NodeLog): NodeRun {
  return {
    status: STATUSES[log.status ?? ""] ?? "initial",
    duration: typeof log.duration === "number" ? log.duration : null,
    attempt: log.attempt,
    error: log.error,
    startedAt: log.startedAt ?? log.timestamp,
    percentage: log.percentage ?? null,
    message: log.message ?? null,
    reusedFrom: log.reusedFrom,
    childExecutionId: log.childExecutionId,
    items: null,
  };
}

/** Returns the run of each node. Runs of loop items are combined at their node. */
export function nodeRuns(execution: ExecutionView | undefined): Map<string, NodeRun> {
  const runs = new Map<string, NodeRun>();
  const own: [string, NodeRun][] = [];
  for (const [id, log] of execution?.nodes ?? []) {
    const nodeId = ITEM.exec(id)?.[1];
    const run = runOf(log);
    if (nodeId === undefined) {
      own.push([id, run]);
      continue;
    }
    const before = runs.get(nodeId);
    const items = { ...before?.items, [run.status]: (before?.items?.[run.status] ?? 0) + 1 };
    const status = PRIORITY.find((name) => items[name]) ?? "initial";
    const duration = before === undefined ? run.duration : sum(before.duration, run.duration);
    const error = before?.error ?? run.error;
    runs.set(nodeId, { ...(before ?? run), status, duration, error, items });
  }
  // The end of a loop decides the outcome of the nodes in its body.
  for (const [id, run] of own) {
    const ofItems = runs.get(id);
    const { duration = null, items = null } = ofItems ?? {};
    runs.set(id, { ...run, duration: run.duration ?? duration, items });
  }
  return runs;
}

function sum(a: number | null, b: number | null): number | null {
  return a === null && b === null ? null : (a ?? 0) + (b ?? 0);
}

function edgeStatus(source: NodeRun, target: NodeRun, isError: boolean): EdgeRun["status"] {
  if (source.status === "skipped" || target.status === "skipped") return "skipped";
  if (target.status === "initial") return "initial";
  if (isError && source.status === "error") return "error";
  if (target.status === "loading") return "loading";
  return "taken";
}

/** Returns nodes and edges with `data.run`; those that did not change are the same objects. */
export class RunOverlay {
  #nodes: Node[] = [];
  #edges: Edge[] = [];
  #document: unknown;

  update(
    document: WorkflowDocument | null | undefined,
    execution: ExecutionView | undefined,
  ): [Node[], Edge[]] {
    if (document !== this.#document) {
      this.#document = document;
      this.#nodes = toNodes(document);
      this.#edges = toEdges(document);
    }
    const runs = nodeRuns(execution);
    const run = (id: string) => runs.get(id) ?? INITIAL;
    this.#nodes = mapChanged(this.#nodes, (node) => withRun(node, run(node.id)));
    this.#edges = mapChanged(this.#edges, (edge) => {
      const isError = edge.sourceHandle?.toLowerCase() === "error";
      const status = isTaken(edge, execution)
        ? edgeStatus(run(edge.source), run(edge.target), isError)
        : "skipped";
      return withRun(edge, { status });
    });
    return [this.#nodes, this.#edges];
  }
}

/** Returns false if the source chose another output. */
function isTaken(edge: Edge, execution: ExecutionView | undefined): boolean {
  const port = edge.sourceHandle?.toLowerCase();
  const log = execution?.nodes.get(edge.source);
  if (port === "error")
    return log === undefined || log.status === "running" || log.status === "error";
  return true;
}

function withRun<Item extends { data?: Record<string, unknown> }>(item: Item, run: object): Item {
  const before = item.data?.run;
  if (before !== undefined && JSON.stringify(before) === JSON.stringify(run)) return item;
  return { ...item, data: { ...item.data, run } };
}

function mapChanged<Item>(values: Item[], change: (value: Item) => Item): Item[] {
  const changed = values.map(change);
  return changed.every((value, index) => value === values[index]) ? values : changed;
}
