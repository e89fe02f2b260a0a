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
/** The run of a node that has not started. */
export const INITIAL_RUN: NodeRun = {
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

/**
 * Returns the run of each node. Runs of loop items are combined at their node.
 *
 * With a path such as `[3]`, only runs for this item are used: the fourth one of a loop, or `[3][0]`
 * of a loop in it.
 */
export function nodeRuns(execution: ExecutionView | undefined, path = ""): Map<string, NodeRun> {
  const runs = new Map<string, NodeRun>();
  const own: [string, NodeRun][] = [];
  for (const [id, log] of execution?.nodes ?? []) {
    const [, nodeId = id, of = ""] = ITEM.exec(id) ?? [];
    if (!of.startsWith(path)) continue;
    const run = runOf(log);
    if (of === path) {
      own.push([nodeId, run]);
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

/** Returns the run of an edge between two nodes with these runs. */
export function edgeRun(
  edge: Pick<Edge, "sourceHandle">,
  source: NodeRun,
  target: NodeRun,
): EdgeRun {
  const isError = edge.sourceHandle?.toLowerCase() === "error";
  const isDead = isError && (source.status === "success" || source.status === "waiting");
  if (isDead || source.status === "skipped" || target.status === "skipped")
    return { status: "skipped" };
  if (target.status === "initial") return { status: "initial" };
  if (isError && source.status === "error") return { status: "error" };
  return { status: target.status === "loading" ? "loading" : "taken" };
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
    const run = (id: string) => runs.get(id) ?? INITIAL_RUN;
    this.#nodes = mapChanged(this.#nodes, (node) => withRun(node, run(node.id)));
    this.#edges = mapChanged(this.#edges, (edge) =>
      withRun(edge, edgeRun(edge, run(edge.source), run(edge.target))),
    );
    return [this.#nodes, this.#edges];
  }
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
