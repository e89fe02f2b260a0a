// The state of the nodes and connections of a graph.
import type { ExecutionView } from "workflow-orchestration-client";
import {
  type EdgeRun,
  edgeRun,
  INITIAL_RUN,
  type NodeRun,
  nodeRuns,
  type WorkflowDocument,
} from "workflow-orchestration-client/flow";
import { type Reason, skipReason } from "./definition";
import type { Frames, Placed, PlacedEdge } from "./frames";

export interface Source {
  document: WorkflowDocument | null | undefined;
  execution: ExecutionView | undefined;
}

export interface NodeState {
  run: NodeRun;
  /** Why it was skipped. */
  reason: Reason | null;
}

export interface States {
  node: (placed: Placed) => NodeState;
  edge: (placed: PlacedEdge) => EdgeRun["status"];
}

/** Returns the state of what is placed; the runs of each item are read once. */
export function statesOf(frames: Frames, sourceOf: (executionId: string) => Source): States {
  const runs = new Map<string, Map<string, NodeRun>>();
  const runOf = ({ executionId, nodeId, path }: Placed): NodeRun => {
    const key = `${executionId}${path}`;
    let ofPath = runs.get(key);
    if (!ofPath) {
      ofPath = nodeRuns(sourceOf(executionId).execution, path);
      runs.set(key, ofPath);
    }
    return ofPath.get(nodeId) ?? INITIAL_RUN;
  };
  const byPlace = new Map(frames.nodes.map((placed) => [placed.place, placed]));
  const runAt = (place: string): NodeRun => {
    const placed = byPlace.get(place);
    return placed ? runOf(placed) : INITIAL_RUN;
  };
  return {
    node: (placed) => {
      const run = runOf(placed);
      const { document, execution } = sourceOf(placed.executionId);
      const isSkipped = run.status === "skipped" && placed.isOneRun && document;
      return { run, reason: isSkipped ? skipReason(document, execution, placed.runId) : null };
    },
    edge: ({ edge, source, target }) => edgeRun(edge, runAt(source), runAt(target)).status,
  };
}
