// The nodes of the editor. `data.run` is the live state of a node.
import { Handle, type Node, type NodeProps, Position } from "@xyflow/react";
import type { NodeRun } from "workflow-orchestration-client/flow";
import document from "./city-report.json";

function EditorNode({ id, type, data }: NodeProps<Node<{ label: string; run: NodeRun }>>) {
  const outputs = type === "condition" ? ["true", "false"] : [null];
  return (
    <div className="node" data-node={id} data-status={data.run.status}>
      <Handle type="target" position={Position.Left} />
      <b>{data.label}</b>
      <small>{data.run.duration === null ? data.run.status : `${data.run.duration} ms`}</small>
      {outputs.map((port, index) => (
        <Handle
          key={port}
          id={port}
          type="source"
          position={Position.Right}
          style={{ top: `${(100 / (outputs.length + 1)) * (index + 1)}%` }}
        />
      ))}
    </div>
  );
}

export const nodeTypes = Object.fromEntries(document.nodes.map(({ type }) => [type, EditorNode]));
