import "./run.css";
import "@xyflow/react/dist/style.css";
import { useComputedColorScheme } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { Background, Controls, type Edge, MarkerType, type Node, ReactFlow } from "@xyflow/react";
import { useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import type { DocumentProblem, ExecutionView } from "workflow-orchestration-client";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { lookOf } from "../components/Status";
import { Actions, Card, type CardData, Frame, type GraphActions } from "./cards";
import type { ChildRuns } from "./children";
import { frame, type Placed } from "./frames";
import { itemsOf, parseRunId } from "./loops";
import { NodeList } from "./NodeList";
import { type Openings, toggled } from "./openings";
import { FIT, useSight } from "./sight";
import { type Source, statesOf } from "./state";
import { usageText, useNodeUsage } from "./usage";

export interface Selected {
  executionId: string;
  runId: string;
}

interface Props {
  document: WorkflowDocument;
  execution?: ExecutionView;
  openings?: Openings;
  /** The opened children. */
  childRuns?: ChildRuns;
  selected?: Selected;
  onSelect?: (selected: Selected | undefined) => void;
  onToggle?: GraphActions["toggle"];
  onShow?: GraphActions["show"];
  problems?: readonly DocumentProblem[];
}

const NO_CHILDREN: ChildRuns = new Map();
const nodeTypes = { card: Card, frame: Frame };

/** Returns the children that runs have called, by execution and run; only those that are open. */
function callsOf(executions: (ExecutionView | undefined)[], opened: ReadonlySet<string>): string {
  const calls: Record<string, string> = {};
  if (opened.size > 0)
    for (const execution of executions)
      for (const [runId, log] of execution?.nodes ?? [])
        if (log.childExecutionId && opened.has(log.childExecutionId))
          calls[`${execution?.executionId}/${runId}`] = log.childExecutionId;
  return JSON.stringify(calls);
}

const documentIds = new WeakMap<object, number>();
let lastDocument = 0;

/** Returns a number for each document, so that another one is noticed. */
function numberOf(document: WorkflowDocument | null | undefined): number {
  if (!document) return 0;
  let number = documentIds.get(document);
  if (number === undefined) {
    lastDocument += 1;
    number = lastDocument;
    documentIds.set(document, number);
  }
  return number;
}

type Fields = Record<string, unknown>;
const isSame = (a: unknown, b: unknown, depth: number): boolean => {
  if (Object.is(a, b) || depth === 0) return Object.is(a, b);
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => isSame((a as Fields)[name], (b as Fields)[name], depth - 1))
  );
};

/** Returns the objects of the last render for those that are equal: they do not render again. */
function useUnchanged<Item extends { id: string }>(items: Item[]): Item[] {
  const last = useRef(new Map<string, Item>());
  const next = items.map((item) => {
    const known = last.current.get(item.id);
    // Down to the numbers of items in `data.run.items`.
    return known && isSame(known, item, 4) ? known : item;
  });
  useEffect(() => {
    last.current = new Map(next.map((item) => [item.id, item]));
  });
  return next;
}

/** Whether a placed node shows the selected run, perhaps combined with others. */
function isShown(placed: Placed, selected: Selected | undefined): boolean {
  if (selected?.executionId !== placed.executionId) return false;
  if (placed.isOneRun) return placed.runId === selected.runId;
  const { nodeId, path } = parseRunId(selected.runId);
  return nodeId === placed.nodeId && path.startsWith(placed.path);
}

/** The definition as a graph, with the live state of an execution, its loops and its children. */
export default function Graph({
  document,
  execution,
  openings: given,
  childRuns: children = NO_CHILDREN,
  selected,
  onSelect,
  onToggle,
  onShow,
  problems,
}: Props) {
  const { t, i18n } = useTranslation();
  const scheme = useComputedColorScheme("light");
  const isVertical =
    useMediaQuery("(max-width: 699px)", false, { getInitialValueInEffect: false }) ?? false;
  const executionId = execution?.executionId ?? "";
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const own = useMemo((): Openings => ({ closed, opened: new Set(), items: new Map() }), [closed]);
  const openings = given ?? own;
  const sourceOf = (id: string): Source => {
    if (id === executionId) return { document, execution };
    const child = children.get(id);
    return { document: child?.definition?.data, execution: child?.execution };
  };
  const executions = [execution, ...[...children.values()].map((child) => child.execution)];
  const calls = callsOf(executions, openings.opened);
  const documents = [...openings.opened].map((id) => numberOf(sourceOf(id).document)).join();
  // Positions depend on the documents and on what is open, not on the events.
  // biome-ignore lint/correctness/useExhaustiveDependencies: `documents` stands for `sourceOf`
  const frames = useMemo(() => {
    const called = JSON.parse(calls) as Record<string, string>;
    return frame(
      { executionId, document },
      openings,
      (id) => sourceOf(id).document,
      (id, runId) => called[`${id}/${runId}`],
      isVertical,
    );
  }, [executionId, document, openings, calls, documents, isVertical]);
  const states = statesOf(frames, sourceOf);
  const usageOf = useNodeUsage(executions);
  const shown = frames.nodes.find((placed) => isShown(placed, selected))?.place;
  const { area, flow } = useSight(frames, shown);
  const problemOf = new Map((problems ?? []).map(({ nodeId, detail }) => [nodeId, detail]));

  const drawn = frames.nodes.map((placed): Node<CardData> => {
    const { run, reason } = states.node(placed);
    const usage = usageOf(placed);
    const label = String(placed.node.data.label);
    const note = (): string | undefined => {
      if (placed.kind !== "child" || sourceOf(placed.childId ?? "").document) return undefined;
      const child = children.get(placed.childId ?? "");
      if (child?.error) return child.error.detail;
      return child?.definition === null ? t("The graph of this execution is unknown") : "";
    };
    return {
      id: placed.place,
      type: placed.kind === "card" ? "card" : "frame",
      position: { x: placed.x, y: placed.y },
      width: placed.width,
      height: placed.height,
      zIndex: placed.depth * 2,
      data: {
        placed,
        label,
        type: placed.node.type,
        run: execution ? run : undefined,
        reason: reason ? t(reason.text, reason.values) : undefined,
        usage: usage && usageText(usage, t, i18n.language),
        problem: problemOf.get(placed.nodeId),
        isVertical,
        isSelected: placed.place === shown,
        childId: placed.isOneRun ? (run.childExecutionId ?? undefined) : undefined,
        item: openings.items.get(placed.place),
        note: note(),
      },
      ariaLabel: `${label}: ${t(lookOf(run.status).label)}`,
    };
  });
  const nodes = useUnchanged(drawn);
  const edges = useUnchanged(
    frames.edges.map((placed): Edge => {
      const { edge, depth, isEntry } = placed;
      const status = execution ? states.edge(placed) : "initial";
      const port = isEntry || edge.sourceHandle === "output" ? undefined : edge.sourceHandle;
      return {
        id: placed.id,
        source: placed.source,
        target: placed.target,
        sourceHandle: isEntry ? "inside" : undefined,
        label: port ?? undefined,
        zIndex: depth * 2 - 1,
        className: `edge-${status}`,
        animated: status === "loading",
        markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14 },
      };
    }),
  );

  const actions: GraphActions = {
    select: (placed) => onSelect?.({ executionId: placed.executionId, runId: placed.runId }),
    toggle: (placed, childId) =>
      onToggle ? onToggle(placed, childId) : setClosed(toggled(closed, placed.place)),
    show: (placed, item) => onShow?.(placed, item),
    itemsOf: (placed) =>
      itemsOf(sourceOf(placed.executionId).execution, placed.body ?? new Set(), placed.path),
  };
  const latest = useRef(actions);
  useEffect(() => {
    latest.current = actions;
  });
  // The cards do not render again because of their actions.
  const stable = useMemo(
    (): GraphActions => ({
      select: (...all) => latest.current.select(...all),
      toggle: (...all) => latest.current.toggle(...all),
      show: (...all) => latest.current.show(...all),
      itemsOf: (...all) => latest.current.itemsOf(...all),
    }),
    [],
  );
  return (
    <Actions value={stable}>
      <div className="graph" ref={area}>
        <ReactFlow
          nodes={nodes}
          edges={edges}
          nodeTypes={nodeTypes}
          colorMode={scheme}
          onNodeClick={(event, node) => {
            // The buttons of a node have this class, also those in its menus.
            if (!(event.target as Element).closest(".nodrag")) stable.select(node.data.placed);
          }}
          onPaneClick={() => onSelect?.(undefined)}
          nodesDraggable={false}
          nodesConnectable={false}
          nodesFocusable={false}
          edgesFocusable={false}
          elementsSelectable={false}
          elevateNodesOnSelect={false}
          onlyRenderVisibleElements={nodes.length > 100}
          onInit={(instance) => {
            flow.current = instance;
          }}
          fitView
          fitViewOptions={FIT}
          minZoom={0.05}
          proOptions={{ hideAttribution: true }}
          aria-label={t("Graph")}
        >
          <Background gap={20} />
          <Controls showInteractive={false} />
        </ReactFlow>
        <NodeList nodes={nodes} isSelectable={onSelect !== undefined} />
      </div>
    </Actions>
  );
}
