import type { Edge, Node } from "@xyflow/react";
import { toEdges, toNodes, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { type Loops, loopsOf } from "./loops";

/** The parts of a document. */
export interface Parts {
  nodes: readonly Node[];
  edges: readonly Edge[];
  /** The connections to each node. */
  incoming: ReadonlyMap<string, readonly Edge[]>;
  loops: Loops;
}

const known = new WeakMap<object, Parts>();

/** Returns the parts of a document, which are read once. */
export function partsOf(document: WorkflowDocument): Parts {
  let parts = known.get(document);
  if (!parts) {
    const [nodes, edges] = [toNodes(document), toEdges(document)];
    const incoming = new Map<string, Edge[]>();
    for (const edge of edges) {
      const others = incoming.get(edge.target);
      if (others) others.push(edge);
      else incoming.set(edge.target, [edge]);
    }
    parts = { nodes, edges, incoming, loops: loopsOf(nodes, edges) };
    known.set(document, parts);
  }
  return parts;
}
