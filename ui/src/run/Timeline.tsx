import { ActionIcon, Group, Text, Tooltip } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconChevronDown, IconChevronRight } from "@tabler/icons-react";
import { keepPreviousData, useQueries } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { VList } from "virtua";
import type { ExecutionView } from "workflow-orchestration-client";
import { client } from "../app/client";
import { formatDuration, formatTime, useNow } from "../app/format";
import { StatusIcon } from "../components/Status";
import type { ChildRuns } from "./children";
import type { Selected } from "./Graph";
import { type Openings, toggled } from "./openings";
import {
  type Attempt,
  type Attempts,
  type Row,
  rowsOf,
  type Segment,
  type Source,
} from "./timelineRows";

const ROW_HEIGHT = 30;
const LABEL_WIDTH = 220;
/** Of the rows of a child, in pixels. */
const INDENT = 18;

interface Props extends Source {
  openings: Openings;
  childRuns: ChildRuns;
  selected: Selected | undefined;
  onSelect: (selected: Selected) => void;
  onToggleChild: (childId: string) => void;
}

/** Returns the attempts of node runs that had several ones or waited, by execution and node run. */
function useAttempts(executions: readonly ExecutionView[]): ReadonlyMap<string, Attempts> {
  return useQueries({
    queries: executions.map((execution) => {
      // The attempts change with these node runs only.
      const changing = [...execution.nodes.values()].filter(
        ({ attempt, waitedMs, waitingSince }) => attempt > 1 || waitedMs || waitingSince,
      );
      const { executionId } = execution;
      return {
        queryKey: [
          "attempts",
          executionId,
          changing.length,
          Math.max(0, ...changing.map(({ seq }) => seq)),
        ],
        enabled: changing.length > 0,
        staleTime: Number.POSITIVE_INFINITY,
        placeholderData: keepPreviousData,
        queryFn: ({ signal }: { signal: AbortSignal }) =>
          client.request<{ segments: Attempt[] }>(
            "GET",
            `/api/executions/${encodeURIComponent(executionId)}/attempts`,
            { signal },
          ),
      };
    }),
    combine: (results) => {
      const all = new Map<string, Attempts>();
      results.forEach(({ data }, index) => {
        const byNode = new Map<string, Attempt[]>();
        for (const part of data?.segments ?? []) {
          const parts = byNode.get(part.nodeId);
          if (parts) parts.push(part);
          else byNode.set(part.nodeId, [part]);
        }
        const id = executions[index]?.executionId;
        if (id !== undefined) all.set(id, byNode);
      });
      return all;
    },
  });
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
export function Timeline(props: Props) {
  const { execution, createdAt, startedAt, openings, childRuns, selected } = props;
  const { onSelect, onToggleChild } = props;
  const { t, i18n } = useTranslation();
  const now = useNow(execution.active, 500);
  const [groups, setGroups] = useState<ReadonlySet<string>>(new Set());
  const [zoom, setZoom] = useState<[number, number] | null>(null);
  const area = useRef<HTMLDivElement>(null);
  useHotkeys([["0", () => setZoom(null)]]);

  const shownChildren = [...openings.opened].flatMap((id) => childRuns.get(id)?.execution ?? []);
  const attempts = useAttempts([execution, ...shownChildren]);
  const { opened } = openings;
  const all = useMemo(
    () =>
      rowsOf(
        { execution, createdAt, startedAt },
        { groups, opened, children: childRuns, attempts, queueLabel: t("Queue"), now },
      ),
    [execution, createdAt, startedAt, groups, opened, childRuns, attempts, now, t],
  );
  const origin =
    Date.parse(createdAt ?? "") ||
    Math.min(...all.flatMap((row) => row.segments.map(({ start }) => start)));
  const last = Math.max(
    origin + 1,
    ...all.map((row) => row.segments.at(-1)?.end ?? 0),
    execution.active ? now : 0,
  );
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

  const hasChildren = all.some(({ childId }) => childId !== undefined);
  const isSelected = (row: Row) =>
    row.id !== "" && selected?.runId === row.id && selected.executionId === row.executionId;
  // An attempt that another one followed has failed.
  const statusOf = ({ kind, attempt }: Segment, row: Row) =>
    kind === "running" && row.count === undefined && attempt < row.attempt ? "error" : row.status;
  const segmentText = ({ kind, attempt }: Segment) =>
    kind === "running" && attempt > 1 ? t("attempt {{attempt}}", { attempt }) : t(kind);
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
            <div key={row.key} className="timeline-line">
              {row.childId !== undefined && (
                <ActionIcon
                  className="timeline-toggle"
                  style={{ left: row.depth * INDENT }}
                  variant="subtle"
                  color="gray"
                  size="xs"
                  aria-expanded={opened.has(row.childId)}
                  aria-label={t("Nodes of “{{node}}”", { node: row.label })}
                  onClick={() => onToggleChild(row.childId ?? "")}
                >
                  {opened.has(row.childId) ? (
                    <IconChevronDown size={12} />
                  ) : (
                    <IconChevronRight size={12} />
                  )}
                </ActionIcon>
              )}
              <button
                type="button"
                className="timeline-row"
                data-selected={isSelected(row) || undefined}
                onClick={() => {
                  if (row.id === "") return;
                  if (row.count !== undefined) setGroups(toggled(groups, row.key));
                  onSelect({ executionId: row.executionId, runId: row.id });
                }}
              >
                <Group
                  gap={6}
                  wrap="nowrap"
                  className="timeline-label"
                  pl={hasChildren ? row.depth * INDENT + INDENT : row.depth * INDENT}
                >
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
                          label={`${segmentText(segment)}: ${formatDuration(segment.end - segment.start)} · ${formatTime(new Date(segment.start).toISOString(), i18n.language)}`}
                        >
                          <rect
                            className={`segment segment-${segment.kind}`}
                            data-status={statusOf(segment, row)}
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
            </div>
          );
        })}
      </VList>
    </div>
  );
}
