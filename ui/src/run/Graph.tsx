import "./run.css";
import "@xyflow/react/dist/style.css";
import { Text, useComputedColorScheme, VisuallyHidden } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import {
  Background,
  Controls,
  type Edge,
  Handle,
  MarkerType,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
} from "@xyflow/react";
import { memo, useMemo } from "react";
import { useTranslation } from "react-i18next";
import type { DocumentProblem, ExecutionView } from "workflow-orchestration-client";
import {
  type EdgeRun,
  type NodeRun,
  useRunOverlay,
  type WorkflowDocument,
} from "workflow-orchestration-client/flow";
import { formatDuration } from "../app/format";
import { lookOf, StatusIcon } from "../components/Status";
import { TypeIcon } from "../components/TypeIcon";
import { layOut, NODE_HEIGHT, NODE_WIDTH } from "./layout";

interface Props {
  document: WorkflowDocument;
  execution?: ExecutionView;
  selected?: string;
  onSelect?: (nodeId: string | undefined) => void;
  problems?: readonly DocumentProblem[];
}

interface CardData extends Record<string, unknown> {
  label: string;
  kind: string | undefined;
  run?: NodeRun;
  problem?: string;
  isPlain: boolean;
  isVertical: boolean;
}

const Card = memo(function Card({ data, selected }: NodeProps<Node<CardData>>) {
  const { label, kind, run, problem, isPlain, isVertical } = data;
  const status = problem ? "error" : run?.status;
  const done = run?.items
    ? Object.entries(run.items).reduce(
        (sum, [name, count]) => (name === "loading" || name === "waiting" ? sum : sum + count),
        0,
      )
    : 0;
  const total = run?.items ? Object.values(run.items).reduce((sum, count) => sum + count, 0) : 0;
  const details = [
    run && run.attempt > 1 ? `×${run.attempt}` : null,
    run?.items ? `${done}/${total}` : null,
    run?.percentage != null && run.status === "loading" ? `${run.percentage} %` : null,
    run?.duration != null && run.status !== "skipped" ? formatDuration(run.duration) : null,
  ].filter(Boolean);
  return (
    <div
      className="card"
      data-status={status}
      data-selected={selected || undefined}
      title={problem ?? run?.error ?? undefined}
    >
      <Handle
        type="target"
        position={isVertical ? Position.Top : Position.Left}
        isConnectable={false}
      />
      <span className="card-icon">
        <TypeIcon type={kind} />
      </span>
      <span className="card-text">
        <Text span truncate size="sm" fw={500}>
          {label}
        </Text>
        <Text span truncate size="xs" c="dimmed" className="number">
          {details.length > 0 ? details.join(" · ") : kind}
        </Text>
      </span>
      {(!isPlain || problem) && <StatusIcon status={status} />}
      <Handle
        type="source"
        position={isVertical ? Position.Bottom : Position.Right}
        isConnectable={false}
      />
    </div>
  );
});

const nodeTypes = { card: Card };

/** The definition as a graph, with the live state of an execution. */
export default function Graph({ document, execution, selected, onSelect, problems }: Props) {
  const { t } = useTranslation();
  const scheme = useComputedColorScheme("light");
  const isVertical =
    useMediaQuery("(max-width: 699px)", false, { getInitialValueInEffect: false }) ?? false;
  const [overlayNodes, overlayEdges] = useRunOverlay(document, execution);
  // Positions depend on the document only.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the overlay changes with every event
  const positions = useMemo(
    () => layOut(overlayNodes, overlayEdges, isVertical),
    [document, isVertical],
  );
  const nodes = useMemo(
    () =>
      overlayNodes.map(
        (node): Node<CardData> => ({
          id: node.id,
          type: "card",
          position: positions.get(node.id) ?? node.position,
          width: NODE_WIDTH,
          height: NODE_HEIGHT,
          selected: node.id === selected,
          data: {
            label: String(node.data.label),
            kind: node.type,
            run: execution ? (node.data.run as NodeRun) : undefined,
            problem: problems?.find(({ nodeId }) => nodeId === node.id)?.detail,
            isPlain: execution === undefined,
            isVertical,
          },
          ariaLabel: `${node.data.label}: ${t(lookOf((node.data.run as NodeRun).status).label)}`,
        }),
      ),
    [overlayNodes, positions, selected, problems, execution, isVertical, t],
  );
  const edges = useMemo(
    () =>
      overlayEdges.map((edge): Edge => {
        const status = execution ? (edge.data as { run: EdgeRun }).run.status : "initial";
        return {
          id: edge.id,
          source: edge.source,
          target: edge.target,
          label:
            edge.sourceHandle && edge.sourceHandle !== "output" ? edge.sourceHandle : undefined,
          className: `edge-${status}`,
          animated: status === "loading",
          markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14 },
        };
      }),
    [overlayEdges, execution],
  );
  return (
    <div className="graph">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        colorMode={scheme}
        onNodeClick={(_event, node) => onSelect?.(node.id)}
        onPaneClick={() => onSelect?.(undefined)}
        nodesDraggable={false}
        nodesConnectable={false}
        nodesFocusable={false}
        edgesFocusable={false}
        onlyRenderVisibleElements={nodes.length > 100}
        fitView
        fitViewOptions={{ maxZoom: 1.1, padding: 0.15 }}
        minZoom={0.05}
        proOptions={{ hideAttribution: true }}
        aria-label={t("Graph")}
      >
        <Background gap={20} />
        <Controls showInteractive={false} />
      </ReactFlow>
      <VisuallyHidden>
        <h2>{t("Nodes")}</h2>
        <ul>
          {nodes.slice(0, 500).map((node) => (
            <li key={node.id}>
              <button
                type="button"
                tabIndex={onSelect ? 0 : -1}
                onClick={() => onSelect?.(node.id)}
              >
                {node.ariaLabel}
              </button>
            </li>
          ))}
        </ul>
      </VisuallyHidden>
    </div>
  );
}
