// The bodies of loops: what a `forEach` node runs once for each item of a list.
import type { Edge, Node } from "@xyflow/react";
import type { ExecutionView } from "workflow-orchestration-client";

const ITEM_PORTS = new Set(["item", "items", "loop", "each", "body", "iteration", "element"]);
const RUN = /^(.*?)((?:\[\d+\])*)$/s;

/** The id of a node run: the node, and the positions of the items such as `[3]` or `[3][0]`. */
export function parseRunId(runId: string): { nodeId: string; path: string } {
  const [, nodeId = runId, path = ""] = RUN.exec(runId) ?? [];
  return { nodeId, path };
}

/** Whether a connection leads from a loop into its body. Editors write `output-item` or `loopBody`. */
function isItemPort(port: string | null | undefined): boolean {
  const words = port?.match(/[A-Z]?[a-z]+|[A-Z]+/g) ?? [];
  return words.some((word) => ITEM_PORTS.has(word.toLowerCase()));
}

export interface Loops {
  /** The nodes of the body of each loop, with those of inner loops. */
  bodies: ReadonlyMap<string, ReadonlySet<string>>;
  /** The innermost loop around each node in a loop. */
  enclosing: ReadonlyMap<string, string>;
}

export function loopsOf(nodes: readonly Node[], edges: readonly Edge[]): Loops {
  const hasLoop = nodes.some(({ type }) => type === "forEach");
  const targets = new Map<string, Edge[]>();
  for (const edge of hasLoop ? edges : []) {
    const others = targets.get(edge.source);
    if (others) others.push(edge);
    else targets.set(edge.source, [edge]);
  }
  const bodies = new Map<string, Set<string>>();
  for (const { id, type } of nodes) {
    if (type !== "forEach") continue;
    const body = new Set<string>();
    const next = (targets.get(id) ?? []).filter(({ sourceHandle }) => isItemPort(sourceHandle));
    for (let edge = next.pop(); edge; edge = next.pop()) {
      if (body.has(edge.target) || edge.target === id) continue;
      body.add(edge.target);
      next.push(...(targets.get(edge.target) ?? []));
    }
    if (body.size > 0) bodies.set(id, body);
  }
  const enclosing = new Map<string, string>();
  for (const [loop, body] of [...bodies].sort(([, a], [, b]) => b.size - a.size))
    for (const id of body) enclosing.set(id, loop);
  return { bodies, enclosing };
}

/** The loops around a node, from the outside to the inside. */
export function loopsAround({ enclosing }: Loops, nodeId: string): string[] {
  const found: string[] = [];
  for (let loop = enclosing.get(nodeId); loop !== undefined; loop = enclosing.get(loop))
    found.unshift(loop);
  return found;
}

export interface LoopItem {
  index: number;
  status: string;
}

/** Which of the node runs of an item decides the status of the item, the first one wins. */
const PRIORITY = ["error", "waiting", "running", "cancelled", "completed", "skipped"];

/** The items of a run of a loop that have started, in their order. `path`: that of the loop's run. */
export function itemsOf(
  execution: ExecutionView | undefined,
  body: ReadonlySet<string>,
  path: string,
): LoopItem[] {
  const ranks = new Map<number, number>();
  for (const [id, log] of execution?.nodes ?? []) {
    const run = parseRunId(id);
    if (run.path.length <= path.length || !run.path.startsWith(path) || !body.has(run.nodeId))
      continue;
    const index = Number.parseInt(run.path.slice(path.length + 1), 10);
    const rank = PRIORITY.indexOf(log.status ?? "");
    const known = ranks.get(index) ?? PRIORITY.length;
    ranks.set(index, rank === -1 ? known : Math.min(known, rank));
  }
  return [...ranks]
    .sort(([a], [b]) => a - b)
    .map(([index, rank]) => ({ index, status: PRIORITY[rank] ?? "initial" }));
}
