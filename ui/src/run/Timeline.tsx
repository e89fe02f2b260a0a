import { Group, Text, Tooltip } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { VList } from "virtua";
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import { formatDuration, formatTime, useNow } from "../app/format";
import { StatusIcon } from "../components/Status";
import { nodeIdOf } from "./definition";

interface Props {
  execution: ExecutionView;
  createdAt: string | null | undefined;
  startedAt: string | null | undefined;
  selected?: string;
  onSelect: (nodeId: string) => void;
}

interface Segment {
  kind: "queued" | "running" | "parked";
  start: number;
  end: number;
}

interface Row {
  id: string;
  label: string;
  status: string | null;
  segments: Segment[];
  count?: number;
  attempt: number;
}

const ROW_HEIGHT = 30;
/** Above this number of rows, the items of a loop are one row until it is opened. */
const MAX_OPEN_ROWS = 50;

function segmentsOf(log: NodeLog, now: number): Segment[] {
  const start = Date.parse(log.startedAt ?? log.timestamp ?? "");
  if (Number.isNaN(start) || log.status === "skipped") return [];
  const end = log.endedAt ? Date.parse(log.endedAt) : now;
  if (log.status === "waiting" && log.waitingSince) {
    const since = Math.max(start, Date.parse(log.waitingSince));
    return [
      { kind: "running", start, end: since },
      { kind: "parked", start: since, end },
    ];
  }
  const waited = Math.min(log.waitedMs ?? 0, end - start);
  if (waited <= 0) return [{ kind: "running", start, end }];
  // The journal has the length of all waits, not their positions: between the first and last step.
  const before = (end - start - waited) / 2;
  return [
    { kind: "running", start, end: start + before },
    { kind: "parked", start: start + before, end: end - before },
    { kind: "running", start: end - before, end },
  ];
}

function rowsOf(execution: ExecutionView, opened: ReadonlySet<string>, now: number): Row[] {
  const rows: Row[] = [];
  const isCollapsing = execution.nodes.size > MAX_OPEN_ROWS;
  const groups = new Map<string, Row>();
  const looped = new Set<string>();
  for (const id of execution.nodes.keys()) if (nodeIdOf(id) !== id) looped.add(nodeIdOf(id));
  for (const [id, log] of execution.nodes) {
    const nodeId = nodeIdOf(id);
    // Of a node in a loop, the runs of its items have the times.
    if (looped.has(id)) continue;
    const row: Row = {
      id,
      label: log.nodeLabel ?? id,
      status: log.status,
      segments: segmentsOf(log, now),
      attempt: log.attempt,
    };
    const isItem = nodeId !== id;
    if (isItem) row.label = `${row.label} ${id.slice(nodeId.length)}`;
    if (!isItem || !isCollapsing) {
      rows.push(row);
      continue;
    }
    let group = groups.get(nodeId);
    if (!group) {
      group = { ...row, id: nodeId, label: log.nodeLabel ?? nodeId, segments: [], count: 0 };
      groups.set(nodeId, group);
      rows.push(group);
    }
    group.count = (group.count ?? 0) + 1;
    if (row.status === "error" || row.status === "running") group.status = row.status;
    for (const segment of row.segments) {
      const last = group.segments.at(-1);
      if (last && segment.start <= last.end + 1) last.end = Math.max(last.end, segment.end);
      else group.segments.push({ ...segment });
    }
    if (opened.has(nodeId)) rows.push(row);
  }
  return rows;
}

/** Returns round times for the axis. */
function ticksOf(from: number, to: number): number[] {
  const span = to - from;
  const steps = [1, 2, 5]
    .flatMap((digit) => Array.from({ length: 12 }, (_, power) => digit * 10 ** power))
    .sort((a, b) => a - b);
  const step = steps.find((size) => span / size <= 6) ?? span;
  const ticks: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return ticks;
}

/** One row per node run, with the time in the queue, attempts and parked time as segments. */
export function Timeline({ execution, createdAt, startedAt, selected, onSelect }: Props) {
  const { t, i18n } = useTranslation();
  const now = useNow(execution.active, 500);
  const [opened, setOpened] = useState<ReadonlySet<string>>(new Set());
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const area = useRef<HTMLDivElement>(null);
  useHotkeys([["0", () => setZoom(null)]]);

  const rows = useMemo(() => rowsOf(execution, opened, now), [execution, opened, now]);
  const origin =
    Date.parse(createdAt ?? "") ||
    Math.min(...rows.flatMap((row) => row.segments.map(({ start }) => start)));
  const last = Math.max(
    origin + 1,
    ...rows.map((row) => row.segments.at(-1)?.end ?? 0),
    execution.active ? now : 0,
  );
  const begin = Date.parse(startedAt ?? "");
  const queue: Row = {
    id: "",
    label: t("Queue"),
    status: "pending",
    attempt: 1,
    segments: [
      { kind: "queued", start: origin, end: Number.isNaN(begin) ? now : Math.max(origin, begin) },
    ],
  };
  const total = (last - origin) * 1.02;
  const [from, to] = zoom ?? [0, total];
  const percent = (at: number) => ((at - origin - from) / (to - from)) * 100;

  useEffect(() => {
    const element = area.current;
    if (!element) return;
    const onWheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = element.getBoundingClientRect();
      const ratio = Math.min(
        1,
        Math.max(0, (event.clientX - box.left - LABEL_WIDTH) / (box.width - LABEL_WIDTH)),
      );
      setZoom((current) => {
        const [a, b] = current ?? [0, total];
        const size = Math.min(total, Math.max(1, (b - a) * (event.deltaY > 0 ? 1.25 : 0.8)));
        const start = Math.min(total - size, Math.max(0, a + (b - a - size) * ratio));
        return size >= total ? null : [start, start + size];
      });
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [total]);

  const all = [queue, ...rows];
  return (
    <div className="timeline" ref={area}>
      <div className="timeline-axis" aria-hidden>
        <Text size="xs" c="dimmed" className="timeline-label">
          {t("Ctrl + wheel zooms")}
        </Text>
        <div className="timeline-track">
          {ticksOf(from, to).map((tick) => (
            <span
              key={tick}
              className="tick number"
              style={{ left: `${((tick - from) / (to - from)) * 100}%` }}
            >
              {formatDuration(tick)}
            </span>
          ))}
        </div>
      </div>
      <VList
        className="timeline-rows"
        style={{ height: Math.min(560, all.length * ROW_HEIGHT + 8) }}
      >
        {all.map((row) => {
          const spent = row.segments.reduce((sum, { start, end }) => sum + end - start, 0);
          return (
            <button
              type="button"
              key={row.id || "queue"}
              className="timeline-row"
              data-selected={(selected === row.id && row.id !== "") || undefined}
              onClick={() => {
                if (row.id === "") return;
                if (row.count !== undefined) {
                  setOpened((before) => {
                    const next = new Set(before);
                    if (!next.delete(row.id)) next.add(row.id);
                    return next;
                  });
                }
                onSelect(row.id);
              }}
            >
              <Group gap={6} wrap="nowrap" className="timeline-label">
                <StatusIcon status={row.status} size={14} />
                <Text span truncate size="sm">
                  {row.label}
                </Text>
                {row.count !== undefined && (
                  <Text span size="xs" c="dimmed" className="number">
                    ×{row.count}
                  </Text>
                )}
                {row.attempt > 1 && (
                  <Text span size="xs" c="dimmed" className="number">
                    {t("attempt {{attempt}}", { attempt: row.attempt })}
                  </Text>
                )}
              </Group>
              <span className="timeline-track">
                <svg width="100%" height={ROW_HEIGHT} aria-hidden>
                  {row.segments.map((segment) => {
                    const x = Math.max(-1, percent(segment.start));
                    const width = Math.min(101, percent(segment.end)) - x;
                    if (width < 0 || x > 100) return null;
                    return (
                      <Tooltip.Floating
                        key={`${segment.kind}${segment.start}`}
                        label={`${t(segment.kind)}: ${formatDuration(segment.end - segment.start)} · ${formatTime(new Date(segment.start).toISOString(), i18n.language)}`}
                      >
                        <rect
                          className={`segment segment-${segment.kind}`}
                          data-status={row.status}
                          x={`${x}%`}
                          y={8}
                          width={`${Math.max(width, 0.15)}%`}
                          height={14}
                          rx={3}
                        />
                      </Tooltip.Floating>
                    );
                  })}
                  {execution.active && (
                    <line
                      className="now"
                      x1={`${percent(now)}%`}
                      x2={`${percent(now)}%`}
                      y1={0}
                      y2={ROW_HEIGHT}
                    />
                  )}
                </svg>
                <Text span size="xs" c="dimmed" className="number timeline-duration">
                  {row.segments.length > 0 ? formatDuration(spent) : t("skipped")}
                </Text>
              </span>
            </button>
          );
        })}
      </VList>
    </div>
  );
}

const LABEL_WIDTH = 220;
