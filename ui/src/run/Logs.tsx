import { Text, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { VList } from "virtua";
import type { ExecutionView } from "workflow-orchestration-client";
import { formatDuration } from "../app/format";
import { StatusIcon } from "../components/Status";

const ROW_HEIGHT = 32;

/** The node runs in the order of their start. */
export function Logs({
  execution,
  selected,
  onSelect,
}: {
  execution: ExecutionView;
  selected?: string;
  onSelect: (id: string) => void;
}) {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const rows = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    return [...execution.nodes].filter(
      ([id, log]) =>
        !wanted ||
        [id, log.nodeLabel, log.nodeType, log.error, log.message, log.status].some((value) =>
          value?.toLowerCase().includes(wanted),
        ),
    );
  }, [execution, text]);
  return (
    <div>
      <TextInput
        data-search
        size="xs"
        m="xs"
        maw={280}
        leftSection={<IconSearch size={14} />}
        placeholder={t("Search the log")}
        aria-label={t("Search the log")}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <VList style={{ height: Math.min(560, rows.length * ROW_HEIGHT + 4) }}>
        {rows.map(([id, log]) => (
          <button
            type="button"
            key={id}
            className="log-row"
            data-selected={selected === id || undefined}
            onClick={() => onSelect(id)}
          >
            <Text span size="xs" ff="monospace" c="dimmed" className="log-time">
              {(log.timestamp ?? "").slice(11, 23)}
            </Text>
            <StatusIcon status={log.status} size={14} />
            <Text span size="sm" fw={500} truncate className="log-name">
              {log.nodeLabel ?? id}
              {id !== log.nodeId || /\[\d+\]$/.test(id)
                ? ` ${/(\[\d+\])+$/.exec(id)?.[0] ?? ""}`
                : ""}
            </Text>
            <Text
              span
              size="xs"
              c={log.error ? "var(--mantine-color-red-text)" : "dimmed"}
              truncate
              className="log-message"
            >
              {log.error ?? log.message ?? log.nodeType}
            </Text>
            {log.attempt > 1 && (
              <Text span size="xs" c="dimmed" className="number">
                ×{log.attempt}
              </Text>
            )}
            <Text span size="xs" c="dimmed" className="number log-duration">
              {typeof log.duration === "number" && log.status !== "skipped"
                ? formatDuration(log.duration)
                : ""}
            </Text>
          </button>
        ))}
      </VList>
      {rows.length === 0 && (
        <Text c="dimmed" size="sm" p="md">
          {execution.nodes.size === 0 ? t("No node has started yet") : t("Nothing found")}
        </Text>
      )}
    </div>
  );
}
