import type { Edge, Node } from "@xyflow/react";
import { useMemo, useRef } from "react";
import type { ExecutionView } from "../view.js";
import type { WorkflowDocument } from "./document.js";
import { RunOverlay } from "./overlay.js";

export { fromReactFlow, type ReactFlowMapping, type ReactFlowObject } from "./adapter.js";
export { toEdges, toNodes, type WorkflowDocument } from "./document.js";
export {
  type EdgeRun,
  edgeRun,
  INITIAL_RUN,
  type NodeRun,
  nodeRuns,
  RunOverlay,
  type RunStatus,
} from "./overlay.js";

/** Returns React Flow's nodes and edges of a document, with the live state in `data.run`. */
export function useRunOverlay(
  document: WorkflowDocument | null | undefined,
  execution: ExecutionView | undefined,
): [Node[], Edge[]] {
  const overlay = useRef<RunOverlay>(undefined);
  overlay.current ??= new RunOverlay();
  const { current } = overlay;
  return useMemo(() => current.update(document, execution), [current, document, execution]);
}
