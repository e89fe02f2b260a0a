// The graph of an execution with its loops and children in place, without the state of its nodes.
import type { Edge, Node } from "@xyflow/react";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { layOut, NODE_HEIGHT, NODE_WIDTH } from "./layout";
import type { Openings } from "./openings";
import { type Parts, partsOf } from "./parts";

/** The runs that the nodes of a scope show. */
interface Shown {
  /** Of the item that is shown, or around the items that are combined. */
  path: string;
  /** Whether the path names an item of each loop around the node. */
  isOneRun: boolean;
  /** Number of frames around the node. */
  depth: number;
}

export interface Placed extends Shown {
  /** Unique in the graph: the id of the run, after that of its execution if it is a child. */
  place: string;
  executionId: string;
  nodeId: string;
  runId: string;
  node: Node;
  kind: "card" | "loop" | "child";
  /** The nodes of a loop's body, whether it is open or not. */
  body?: ReadonlySet<string>;
  /** Of an open child. */
  childId?: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface PlacedEdge {
  id: string;
  edge: Edge;
  source: string;
  target: string;
  depth: number;
  /** Whether it leads from a loop into its body. */
  isEntry: boolean;
}

export interface Frames {
  nodes: Placed[];
  edges: PlacedEdge[];
}

/** The document of an open child; undefined while it loads, null if it is unknown. */
export type DocumentOf = (executionId: string) => WorkflowDocument | null | undefined;
/** The child that a run of a node called. */
export type ChildOf = (executionId: string, runId: string) => string | null | undefined;

export const HEADER_HEIGHT = 52;
const PADDING = 20;
const MIN_FRAME_WIDTH = 280;
/** The free height of a frame without nodes. */
const EMPTY_HEIGHT = 48;

interface Source extends Parts {
  executionId: string;
  prefix: string;
}

interface Box extends Frames {
  width: number;
  height: number;
}

/** Places the nodes of an execution and of its open children. */
export function frame(
  main: { executionId: string; document: WorkflowDocument },
  openings: Openings,
  documentOf: DocumentOf,
  childOf: ChildOf,
  isVertical = false,
): Frames {
  /** Places the nodes outside of all loops, or those in the body of one loop. */
  const scope = (source: Source, loop: string | undefined, shown: Shown): Box => {
    const placed = new Map<string, Placed>();
    const boxes: [Placed, Box][] = [];
    for (const node of source.nodes) {
      if (source.loops.enclosing.get(node.id) !== loop) continue;
      const runId = node.id + shown.path;
      const own: Placed = {
        ...shown,
        ...{ place: source.prefix + runId, executionId: source.executionId, nodeId: node.id },
        ...{ runId, node, kind: "card", x: 0, y: 0, width: NODE_WIDTH, height: NODE_HEIGHT },
        body: source.loops.bodies.get(node.id),
      };
      placed.set(node.id, own);
      const box = contentOf(own, source);
      if (!box) continue;
      own.width = Math.max(MIN_FRAME_WIDTH, box.width + 2 * PADDING);
      own.height = HEADER_HEIGHT + box.height + 2 * PADDING;
      boxes.push([own, box]);
    }
    const edges = source.edges.filter((edge) => placed.has(edge.source) && placed.has(edge.target));
    const sized = [...placed.values()].map(({ node, width, height }) => ({
      ...node,
      width,
      height,
    }));
    const positions = layOut(sized, edges, isVertical);
    for (const own of placed.values()) Object.assign(own, positions.get(own.nodeId));
    const nodes = [...placed.values()];
    if (shown.depth > 0) moveToOrigin(nodes);
    const connected = edges.map((edge) => ({
      id: `${source.prefix}${edge.id}${shown.path}`,
      edge,
      source: placed.get(edge.source)!.place,
      target: placed.get(edge.target)!.place,
      depth: shown.depth,
      isEntry: false,
    }));
    const box: Box = {
      nodes,
      edges: connected,
      width: Math.max(NODE_WIDTH, ...nodes.map(({ x, width }) => x + width)),
      height: Math.max(EMPTY_HEIGHT, ...nodes.map(({ y, height }) => y + height)),
    };
    for (const [own, content] of boxes) {
      const left = own.x + (own.width - content.width) / 2;
      const top = own.y + HEADER_HEIGHT + PADDING;
      for (const item of content.nodes)
        box.nodes.push({ ...item, x: item.x + left, y: item.y + top });
      box.edges.push(...content.edges);
    }
    return box;
  };

  /** Places the content of a frame. Returns undefined for a node that is a card. */
  const contentOf = (own: Placed, source: Source): Box | undefined => {
    const depth = own.depth + 1;
    if (own.body && !openings.closed.has(own.place)) {
      own.kind = "loop";
      const item = own.isOneRun ? openings.items.get(own.place) : undefined;
      const path = item === undefined ? own.path : `${own.path}[${item}]`;
      const box = scope(source, own.nodeId, { path, isOneRun: item !== undefined, depth });
      const entries = new Set(box.nodes.filter((item) => item.depth === depth).map((n) => n.place));
      for (const edge of source.edges) {
        const target = source.prefix + edge.target + path;
        if (edge.source !== own.nodeId || !entries.has(target)) continue;
        const id = `${source.prefix}${edge.id}${path}`;
        box.edges.push({ id, edge, source: own.place, target, depth, isEntry: true });
      }
      return box;
    }
    const childId = own.isOneRun ? childOf(own.executionId, own.runId) : undefined;
    if (!childId || !openings.opened.has(childId)) return undefined;
    own.kind = "child";
    own.childId = childId;
    const document = documentOf(childId);
    if (!document) return { nodes: [], edges: [], width: NODE_WIDTH, height: EMPTY_HEIGHT };
    const child = { ...partsOf(document), executionId: childId, prefix: `${childId}/` };
    return scope(child, undefined, { path: "", isOneRun: true, depth });
  };

  const source = { ...partsOf(main.document), executionId: main.executionId, prefix: "" };
  return scope(source, undefined, { path: "", isOneRun: true, depth: 0 });
}

function moveToOrigin(nodes: Placed[]): void {
  const left = Math.min(...nodes.map(({ x }) => x));
  const top = Math.min(...nodes.map(({ y }) => y));
  for (const item of nodes) {
    item.x -= left;
    item.y -= top;
  }
}
