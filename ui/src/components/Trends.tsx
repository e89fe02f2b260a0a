import { Group, Text, Tooltip } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { isActive } from "workflow-orchestration-client";
import { between, formatDuration } from "../app/format";
import { lookOf } from "./Status";

export interface PastRun {
  id: string;
  status?: string | null;
  startedAt?: string | null;
  completedAt?: string | null;
}

export interface Summary {
  ended: number;
  successRate: number | null;
  median: number | null;
}

export function summarize(runs: readonly PastRun[]): Summary {
  const ended = runs.filter(({ status }) => status === "completed" || status === "failed");
  const durations = ended
    .map((run) => (run.completedAt ? between(run.startedAt, run.completedAt, 0) : null))
    .filter((ms) => ms !== null)
    .sort((a, b) => a - b);
  const middle = Math.floor(durations.length / 2);
  const completed = ended.filter(({ status }) => status === "completed").length;
  return {
    ended: ended.length,
    successRate: ended.length > 0 ? completed / ended.length : null,
    median:
      durations.length === 0
        ? null
        : durations.length % 2 === 1
          ? durations[middle]!
          : (durations[middle - 1]! + durations[middle]!) / 2,
  };
}

const durationOf = (run: PastRun): number =>
  isActive(run.status) ? 0 : (between(run.startedAt, run.completedAt, 0) ?? 0);
const durationText = (run: PastRun): string =>
  isActive(run.status) ? "…" : formatDuration(durationOf(run));

/** The last runs from old to new: the height is a size, such as the duration; the color is the status. */
export function Bars({
  runs,
  height = 24,
  count = 20,
  sizeOf = durationOf,
  textOf = durationText,
}: {
  runs: readonly PastRun[];
  height?: number;
  count?: number;
  sizeOf?: (run: PastRun) => number;
  textOf?: (run: PastRun) => string;
}) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const shown = runs.slice(0, count).reverse();
  const lengths = shown.map(sizeOf);
  const longest = Math.max(1, ...lengths);
  return (
    <Group gap={2} wrap="nowrap" align="flex-end" h={height} className="bars">
      {shown.map((run, index) => {
        const { color, label } = lookOf(run.status);
        const text = `${t(label)} · ${textOf(run)}`;
        return (
          <Tooltip key={run.id} label={text}>
            <button
              type="button"
              className="bar"
              aria-label={text}
              tabIndex={-1}
              style={{
                height: `${Math.max(12, (lengths[index]! / longest) * 100)}%`,
                background: `var(--mantine-color-${color}-filled)`,
              }}
              onClick={(event) => {
                event.preventDefault();
                void navigate({ to: "/executions/$executionId", params: { executionId: run.id } });
              }}
            />
          </Tooltip>
        );
      })}
      {shown.length === 0 && (
        <Text size="xs" c="dimmed">
          –
        </Text>
      )}
    </Group>
  );
}
