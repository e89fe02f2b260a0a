import { Checkbox, Group, Progress, Skeleton, Text } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { WindowVirtualizer, type WindowVirtualizerHandle } from "virtua";
import { isActive } from "workflow-orchestration-client";
import type { LiveExecution } from "workflow-orchestration-client/react";
import { between, formatAgo, formatDuration, formatTime, useNow } from "../app/format";
import { shortId } from "../app/ids";
import { useListKeys } from "../app/rows";
import { StatusBadge } from "./Status";

interface Props {
  executions: readonly LiveExecution[];
  isLoading: boolean;
  selected?: ReadonlySet<string>;
  onSelect?: (selected: ReadonlySet<string>) => void;
  hideWorkflow?: boolean;
}

/** The rows of a list of executions. `j` and `k` move, Enter opens. */
export function ExecutionList({ executions, isLoading, selected, onSelect, hideWorkflow }: Props) {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const now = useNow(executions.some((row) => isActive(row.status)));
  const [cursor, setCursor] = useState(-1);
  const list = useRef<WindowVirtualizerHandle>(null);
  const move = (step: number) => {
    const next = Math.max(0, Math.min(executions.length - 1, cursor + step));
    setCursor(next);
    list.current?.scrollToIndex(next, { align: "nearest" });
    requestAnimationFrame(() =>
      document.getElementById(`row-${executions[next]?.id}`)?.focus({ preventScroll: true }),
    );
  };
  useListKeys({ j: () => move(1), k: () => move(-1) });

  if (isLoading && executions.length === 0) {
    return (
      <div role="status" aria-label={t("Loading")}>
        {[62, 44, 57, 71, 48, 66, 53, 40].map((width) => (
          <div className="row" key={width}>
            <Skeleton height={14} width={`${width}%`} />
          </div>
        ))}
      </div>
    );
  }
  return (
    <div role="list" aria-label={t("Executions")}>
      <WindowVirtualizer ref={list}>
        {executions.map((row, index) => {
          const isLive = isActive(row.status);
          const duration = between(row.startedAt, row.completedAt, now);
          return (
            <div
              key={row.id}
              role="listitem"
              className="row execution-row"
              data-selectable={onSelect ? true : undefined}
              onFocus={() => setCursor(index)}
            >
              {onSelect && (
                <Checkbox
                  size="xs"
                  aria-label={t("Select")}
                  checked={selected?.has(row.id) ?? false}
                  onChange={(event) => {
                    const next = new Set(selected);
                    if (event.currentTarget.checked) next.add(row.id);
                    else next.delete(row.id);
                    onSelect(next);
                  }}
                />
              )}
              <a
                id={`row-${row.id}`}
                className="row-link"
                href={`/ui/executions/${encodeURIComponent(row.id)}`}
                onClick={(event) => {
                  if (event.metaKey || event.ctrlKey || event.shiftKey) return;
                  event.preventDefault();
                  void navigate({
                    to: "/executions/$executionId",
                    params: { executionId: row.id },
                  });
                }}
              >
                <span className="cell-status">
                  <StatusBadge status={row.status} />
                </span>
                <span className="cell-name">
                  {hideWorkflow ? (
                    <Text span ff="monospace" size="xs">
                      {shortId(row.id)}
                    </Text>
                  ) : (
                    <Text span truncate fw={500}>
                      {row.workflowName ?? row.workflowId}
                    </Text>
                  )}
                  {row.error ? (
                    <Text span truncate size="xs" c="var(--mantine-color-red-text)">
                      {row.error}
                    </Text>
                  ) : (
                    <Text span truncate size="xs" c="dimmed">
                      {[
                        hideWorkflow ? null : shortId(row.id),
                        row.triggerType,
                        row.rerunOf ? t("rerun") : null,
                        row.parentExecutionId ? t("child") : null,
                        row.organizationId,
                      ]
                        .filter(Boolean)
                        .join(" · ")}
                    </Text>
                  )}
                </span>
                <span className="cell-progress">
                  {isLive && row.progress ? (
                    <Group gap={6} wrap="nowrap">
                      <Progress
                        value={row.progress.percentage}
                        size="sm"
                        flex={1}
                        aria-label={t("Progress")}
                      />
                      <Text span size="xs" className="number">
                        {row.progress.percentage} %
                      </Text>
                    </Group>
                  ) : null}
                </span>
                <Text span size="sm" className="number cell-duration">
                  {formatDuration(duration)}
                </Text>
                <Text
                  span
                  size="sm"
                  c="dimmed"
                  className="number cell-time"
                  title={formatTime(row.createdAt, i18n.language)}
                >
                  {formatAgo(row.createdAt, now, i18n.language)}
                </Text>
              </a>
            </div>
          );
        })}
      </WindowVirtualizer>
    </div>
  );
}
