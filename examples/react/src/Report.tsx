import { ReactFlow } from "@xyflow/react";
import { useRunOverlay, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { useWorkflow } from "workflow-orchestration-client/react";
import { nodeTypes } from "./nodes";

// biome-ignore format: these are the ten lines of the documentation
export function Report({ doc }: { doc: WorkflowDocument }) {
  const { run, execution, error } = useWorkflow("city-report");
  const [nodes, edges] = useRunOverlay(doc, execution);
  return <>
    <button type="button" disabled={execution?.active} onClick={() => run({ city: "Lima" })}>Run</button>
    <progress max={100} value={execution?.progress.percentage ?? 0} />
    <ReactFlow nodes={nodes} edges={edges} nodeTypes={nodeTypes} fitView />
    {error?.problems.map(p => <p key={p.pointer}>{p.detail}</p>)}</>;
}
