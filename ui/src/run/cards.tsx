import { ActionIcon, Skeleton, Text } from "@mantine/core";
import { IconChevronDown, IconChevronUp } from "@tabler/icons-react";
import { Handle, type Node, type NodeProps, Position } from "@xyflow/react";
import { createContext, memo, useContext } from "react";
import { useTranslation } from "react-i18next";
import type { NodeRun } from "workflow-orchestration-client/flow";
import { formatDuration } from "../app/format";
import { StatusIcon } from "../components/Status";
import { TypeIcon } from "../components/TypeIcon";
import type { Placed } from "./frames";
import type { LoopItem } from "./loops";
import { RunPicker } from "./RunPicker";

export interface CardData extends Record<string, unknown> {
  placed: Placed;
  label: string;
  type: string | undefined;
  run: NodeRun | undefined;
  /** Why it was skipped. */
  reason: string | undefined;
  /** Of a model node: its tokens and their cost. */
  usage: string | undefined;
  problem: string | undefined;
  isVertical: boolean;
  isSelected: boolean;
  /** The child execution that the button opens. */
  childId: string | undefined;
  /** Of a frame: the shown item. */
  item: number | undefined;
  /** Of a child that is not shown yet: why. */
  note: string | undefined;
}

export interface GraphActions {
  select: (placed: Placed) => void;
  /** Opens or closes a loop or a child. */
  toggle: (placed: Placed, childId?: string) => void;
  show: (placed: Placed, item: number | undefined) => void;
  itemsOf: (placed: Placed) => LoopItem[];
}

const NOTHING: GraphActions = {
  select: () => undefined,
  toggle: () => undefined,
  show: () => undefined,
  itemsOf: () => [],
};
export const Actions = createContext<GraphActions>(NOTHING);

/** Returns the attempts, items, progress and duration of a node. */
function useDetails(run: NodeRun | undefined): string[] {
  const { t } = useTranslation();
  if (!run) return [];
  const counts = Object.entries(run.items ?? {});
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  const open = (run.items?.loading ?? 0) + (run.items?.waiting ?? 0);
  const failed = run.items?.error ?? 0;
  return [
    run.attempt > 1 ? `×${run.attempt}` : "",
    run.items ? `${total - open}/${total}` : "",
    failed > 0 ? t("{{count}} failed", { count: failed }) : "",
    run.percentage != null && (run.status === "loading" || run.status === "waiting")
      ? `${run.percentage} %`
      : "",
    run.duration != null && run.status !== "skipped" ? formatDuration(run.duration) : "",
  ].filter(Boolean);
}

/** The points at which connections end and start. */
function Ends({ isVertical }: { isVertical: boolean }) {
  return (
    <>
      <Handle
        type="target"
        position={isVertical ? Position.Top : Position.Left}
        isConnectable={false}
      />
      <Handle
        type="source"
        position={isVertical ? Position.Bottom : Position.Right}
        isConnectable={false}
      />
    </>
  );
}

function Toggle({ data, isOpen }: { data: CardData; isOpen: boolean }) {
  const { t } = useTranslation();
  const { toggle } = useContext(Actions);
  const { placed, childId, label } = data;
  return (
    <ActionIcon
      className="nodrag nopan"
      variant="subtle"
      color="gray"
      size="sm"
      aria-expanded={isOpen}
      aria-label={t("Nodes of “{{node}}”", { node: label })}
      onClick={() => toggle(placed, childId)}
    >
      {isOpen ? <IconChevronUp size={14} /> : <IconChevronDown size={14} />}
    </ActionIcon>
  );
}

function Title({ data, details }: { data: CardData; details: string }) {
  const { label, type, reason, usage } = data;
  return (
    <span className="card-text">
      <Text span truncate size="sm" fw={500}>
        {label}
      </Text>
      <Text span size="xs" c="dimmed" className={reason ? "card-reason" : "number truncate"}>
        {reason ?? (details || type)}
      </Text>
      {usage && (
        <Text span c="dimmed" className="card-usage number truncate">
          {usage}
        </Text>
      )}
    </span>
  );
}

export const Card = memo(function Card({ data }: NodeProps<Node<CardData>>) {
  const { type, run, problem, isVertical, isSelected, placed, childId, reason } = data;
  const status = problem ? "error" : run?.status;
  const details = useDetails(run).join(" · ");
  return (
    <div
      className="card"
      data-status={status}
      data-selected={isSelected || undefined}
      title={problem ?? reason ?? run?.error ?? undefined}
    >
      <Ends isVertical={isVertical} />
      <span className="card-icon">
        <TypeIcon type={type} />
      </span>
      <Title data={data} details={details} />
      {(run || problem) && <StatusIcon status={status} />}
      {(placed.body || childId) && <Toggle data={data} isOpen={false} />}
    </div>
  );
});

/** An open loop or child: its nodes are placed on it. */
export const Frame = memo(function Frame({ data }: NodeProps<Node<CardData>>) {
  const { t } = useTranslation();
  const { type, run, problem, isVertical, isSelected, placed, item, note } = data;
  const { show, itemsOf } = useContext(Actions);
  const status = problem ? "error" : run?.status;
  const details = useDetails(run && { ...run, items: null }).join(" · ");
  const items = run && placed.kind === "loop" && placed.isOneRun ? itemsOf(placed) : [];
  return (
    <div
      className="frame"
      data-status={status}
      data-selected={isSelected || undefined}
      title={problem ?? run?.error ?? undefined}
    >
      <Ends isVertical={isVertical} />
      <div className="frame-head">
        <span className="card-icon">
          <TypeIcon type={type} />
        </span>
        <Title data={data} details={details} />
        {items.length > 0 && (
          <div className="nodrag nopan">
            <RunPicker
              label={t("Item")}
              allLabel={t("All items ({{count}})", { count: items.length })}
              runs={items.map(({ index, status: of }) => ({
                value: String(index),
                label: t("Item {{number}}", { number: index + 1 }),
                status: of,
              }))}
              value={item === undefined ? undefined : String(item)}
              onChange={(value) => show(placed, value === undefined ? undefined : Number(value))}
            />
          </div>
        )}
        {(run || problem) && <StatusIcon status={status} />}
        <Toggle data={data} isOpen />
      </div>
      {placed.kind === "loop" && (
        <Handle
          id="inside"
          className="handle-inside"
          data-vertical={isVertical || undefined}
          type="source"
          position={isVertical ? Position.Bottom : Position.Right}
          isConnectable={false}
        />
      )}
      {note !== undefined && (
        <div className="frame-note">
          {note === "" ? <Skeleton height={20} /> : <Text size="xs">{note}</Text>}
        </div>
      )}
    </div>
  );
});
