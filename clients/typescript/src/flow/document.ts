import type { Edge, Node } from "@xyflow/react";

/** A workflow document: the main project's format, or that of React Flow's `toObject()`. */
export type WorkflowDocument = Record<string, unknown> & {
  nodes?: readonly unknown[];
  edges?: readonly unknown[];
  connections?: readonly unknown[];
};

type Item = Record<string, unknown>;

const isItem = (value: unknown): value is Item =>
  value !== null && typeof value === "object" && !Array.isArray(value);
const items = (value: unknown): Item[] => (Array.isArray(value) ? value.filter(isItem) : []);
const text = (value: unknown): string | undefined =>
  typeof value === "string" || typeof value === "number" ? String(value) : undefined;

/** Returns the nodes for React Flow. Nodes in React Flow's own format keep all their fields. */
export function toNodes(document: WorkflowDocument | null | undefined): Node[] {
  return items(document?.nodes).map((node) => {
    const data = isItem(node.data) ? node.data : {};
    const position = isItem(node.position) ? node.position : { x: node.x, y: node.y };
    const id = text(node.id) ?? "";
    const label = text(data.label) ?? text(node.label) ?? id;
    return {
      ...(isItem(node.data) || isItem(node.position) ? node : {}),
      id,
      type: text(node.type),
      position: { x: Number(position.x) || 0, y: Number(position.y) || 0 },
      data: { ...(isItem(node.config) ? { config: node.config } : {}), ...data, label },
    } as Node;
  });
}

/** Returns the connections as React Flow's edges, with the port in `sourceHandle`. */
export function toEdges(document: WorkflowDocument | null | undefined): Edge[] {
  const connections = document?.edges ?? document?.connections;
  return items(connections).map((edge, index) => {
    const source = text(edge.source) ?? text(edge.fromNodeId) ?? "";
    const target = text(edge.target) ?? text(edge.toNodeId) ?? "";
    return {
      ...(edge.source !== undefined ? edge : {}),
      id: text(edge.id) ?? `${source}-${target}-${index}`,
      source,
      target,
      sourceHandle: text(edge.sourceHandle) ?? text(edge.outputType) ?? text(edge.fromPort) ?? null,
      targetHandle: text(edge.targetHandle) ?? text(edge.inputPort) ?? text(edge.toPort) ?? null,
    } as Edge;
  });
}
