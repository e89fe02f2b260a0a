import dagre from "@dagrejs/dagre";
import type { Edge, Node } from "@xyflow/react";

export const NODE_WIDTH = 200;
export const NODE_HEIGHT = 56;
/** Above this number, nodes are placed by their distance from the start, which is fast. */
const MAX_DAGRE_NODES = 500;

/** Whether the nodes have positions at which their cards do not overlap. */
function isPlaced(nodes: Node[]): boolean {
  if (nodes.length > MAX_DAGRE_NODES) return false;
  return nodes.every((a, index) =>
    nodes
      .slice(index + 1)
      .every(
        (b) =>
          Math.abs(a.position.x - b.position.x) >= NODE_WIDTH + 16 ||
          Math.abs(a.position.y - b.position.y) >= NODE_HEIGHT + 16,
      ),
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
  const positions = new Map<string, { x: number; y: number }>();
  let level = nodes.filter(({ id }) => pending.get(id) === 0).map(({ id }) => id);
  for (let depth = 0; level.length > 0; depth++) {
    const next: string[] = [];
    level.forEach((id, row) => {
      positions.set(id, { x: depth * (NODE_WIDTH + 70), y: row * (NODE_HEIGHT + 24) });
      for (const target of targets.get(id) ?? []) {
        pending.set(target, (pending.get(target) ?? 0) - 1);
        if (pending.get(target) === 0) next.push(target);
      }
    });
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
  for (const { id } of nodes) graph.setNode(id, { width: NODE_WIDTH, height: NODE_HEIGHT });
  for (const { source, target } of edges) {
    if (graph.hasNode(source) && graph.hasNode(target)) graph.setEdge(source, target);
  }
  dagre.layout(graph);
  return new Map(
    nodes.map(({ id }) => {
      const { x, y } = graph.node(id) as { x: number; y: number };
      return [id, { x: x - NODE_WIDTH / 2, y: y - NODE_HEIGHT / 2 }];
    }),
  );
}
