import dagre from "@dagrejs/dagre";
import type { Edge, Node } from "@xyflow/react";

export const NODE_WIDTH = 200;
export const NODE_HEIGHT = 56;
/** Above this number, nodes are placed by their distance from the start, which is fast. */
const MAX_DAGRE_NODES = 500;

const widthOf = (node: Node): number => node.width ?? NODE_WIDTH;
const heightOf = (node: Node): number => node.height ?? NODE_HEIGHT;

/** Whether the nodes have positions at which they do not overlap. */
function isPlaced(nodes: Node[]): boolean {
  if (nodes.length > MAX_DAGRE_NODES) return false;
  const isApart = (a: Node, b: Node) =>
    a.position.x + widthOf(a) + 16 <= b.position.x ||
    a.position.y + heightOf(a) + 16 <= b.position.y;
  return nodes.every((a, index) =>
    nodes.slice(index + 1).every((b) => isApart(a, b) || isApart(b, a)),
  );
}

function byDepth(nodes: Node[], edges: Edge[]): Map<string, { x: number; y: number }> {
  const targets = new Map<string, string[]>();
  const pending = new Map(nodes.map(({ id }) => [id, 0]));
  for (const { source, target } of edges) {
    if (!pending.has(source) || !pending.has(target)) continue;
    targets.set(source, [...(targets.get(source) ?? []), target]);
    pending.set(target, (pending.get(target) ?? 0) + 1);
  }
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const positions = new Map<string, { x: number; y: number }>();
  let level = nodes.filter(({ id }) => pending.get(id) === 0);
  let x = 0;
  while (level.length > 0) {
    const next: Node[] = [];
    let y = 0;
    let width = 0;
    for (const node of level) {
      positions.set(node.id, { x, y });
      y += heightOf(node) + 24;
      width = Math.max(width, widthOf(node));
      for (const id of targets.get(node.id) ?? []) {
        pending.set(id, (pending.get(id) ?? 0) - 1);
        const target = byId.get(id);
        if (pending.get(id) === 0 && target) next.push(target);
      }
    }
    x += width + 70;
    level = next;
  }
  return positions;
}

/** Returns the position of each node: its own, or one from left to right, or from top to bottom. */
export function layOut(
  nodes: Node[],
  edges: Edge[],
  isVertical = false,
): Map<string, { x: number; y: number }> {
  if (!isVertical && isPlaced(nodes))
    return new Map(nodes.map(({ id, position }) => [id, position]));
  if (nodes.length > MAX_DAGRE_NODES) return byDepth(nodes, edges);
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: isVertical ? "TB" : "LR", nodesep: 24, ranksep: isVertical ? 40 : 70 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes)
    graph.setNode(node.id, { width: widthOf(node), height: heightOf(node) });
  for (const { source, target } of edges) {
    if (graph.hasNode(source) && graph.hasNode(target)) graph.setEdge(source, target);
  }
  dagre.layout(graph);
  return new Map(
    nodes.map((node) => {
      const { x, y } = graph.node(node.id) as { x: number; y: number };
      return [node.id, { x: x - widthOf(node) / 2, y: y - heightOf(node) / 2 }];
    }),
  );
}
