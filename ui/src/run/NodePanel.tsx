import { ActionIcon, Button, Group, ScrollArea, Stack, Text } from "@mantine/core";
import { IconArrowRight, IconRotate, IconX } from "@tabler/icons-react";
import type { TFunction } from "i18next";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ExecutionView } from "workflow-orchestration-client";
import { toNodes, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { Copy } from "../components/Copy";
import { ExecutionLink } from "../components/ExecutionLink";
import { StatusBadge } from "../components/Status";
import { TypeIcon } from "../components/TypeIcon";
import { Approval } from "./Approval";
import { nodeIdOf, runsOf, skipReason } from "./definition";
import { parseRunId } from "./loops";
import { NodeData } from "./NodeData";
import { Payload } from "./Payload";
import { RerunDialog } from "./RerunDialog";
import { RunPicker } from "./RunPicker";
import { Waiting } from "./Waiting";
import { mayHaveTask } from "./waits";

interface Props {
  executionId: string;
  execution: ExecutionView;
  document: WorkflowDocument | undefined;
  runId: string;
  onSelect: (runId: string) => void;
  onClose: () => void;
}

export function NodePanel({ executionId, execution, document, runId, onSelect, onClose }: Props) {
  const { t } = useTranslation();
  const nodeId = nodeIdOf(runId);
  const isItem = runId !== nodeId;
  const runs = runsOf(execution, nodeId);
  const log =
    (isItem ? execution.nodes.get(runId) : undefined) ??
    runs.find(({ status }) => status === "error") ??
    runs[0];
  const node = toNodes(document).find(({ id }) => id === runId || id === nodeId);
  const label = log?.nodeLabel ?? (node?.data.label as string | undefined) ?? runId;
  const type = log?.nodeType ?? node?.type;
  const [isRerunOpen, setRerunOpen] = useState(false);
  const reason =
    log?.status === "skipped" ? skipReason(document, execution, log.nodeId ?? nodeId) : null;
  const config = node?.data.config ?? withoutOverlay(node?.data);

  return (
    <section className="panel" aria-label={label}>
      <Group justify="space-between" wrap="nowrap" className="panel-head">
        <Group gap={8} wrap="nowrap" miw={0}>
          <TypeIcon type={type} />
          <div className="panel-title">
            <Text fw={600} truncate>
              {label}
            </Text>
            <Text size="xs" c="dimmed" truncate>
              {type} · {log?.nodeId ?? runId}
            </Text>
          </div>
        </Group>
        <Group gap={4} wrap="nowrap">
          <StatusBadge status={log?.status ?? "initial"} />
          <ActionIcon
            variant="subtle"
            color="gray"
            onClick={onClose}
            aria-label={t("Close the panel")}
          >
            <IconX size={16} />
          </ActionIcon>
        </Group>
      </Group>
      <ScrollArea className="panel-body" type="auto">
        <Stack gap="sm" p="sm">
          {runs.length > 1 && (
            <RunPicker
              label={t("{{count}} runs of this node", { count: runs.length })}
              runs={runs.map((run) => ({
                value: run.nodeId ?? "",
                label: itemLabel(run.nodeId ?? "", t),
                status: run.status,
              }))}
              value={log?.nodeId ?? undefined}
              onChange={(value) => value !== undefined && onSelect(value)}
            />
          )}
          {log?.error && (
            <div className="node-error" role="alert">
              <Text size="sm">{log.error}</Text>
              <Copy value={log.error} label={t("Copy the error")} />
            </div>
          )}
          {reason && (
            <Text size="sm" c="dimmed">
              {t("Skipped: {{reason}}", { reason: t(reason.text, reason.values) })}
            </Text>
          )}
          {!log && (
            <Text size="sm" c="dimmed">
              {execution.active
                ? t("This node has not started yet")
                : t(NOT_STARTED[execution.status ?? ""] ?? "This node did not run")}
            </Text>
          )}
          {log && <Waiting key={log.seq} executionId={executionId} log={log} />}
          {log && mayHaveTask(log) && <Approval executionId={executionId} log={log} />}
          {log?.childExecutionId && (
            <Text size="sm">
              <ExecutionLink id={log.childExecutionId}>
                {t("Open the child execution")} <IconArrowRight size={12} />
              </ExecutionLink>
            </Text>
          )}
          {log?.reusedFrom && (
            <Text size="sm" c="dimmed">
              {t("The result was reused from")} <ExecutionLink id={log.reusedFrom} />
            </Text>
          )}
          {log ? (
            <NodeData
              key={log.nodeId}
              executionId={executionId}
              execution={execution}
              log={log}
              config={config}
            />
          ) : (
            <Payload value={config} name={`${nodeId}-config`} />
          )}
          {log && !execution.active && node && (
            <Group>
              <Button
                variant="light"
                leftSection={<IconRotate size={14} />}
                onClick={() => setRerunOpen(true)}
              >
                {t("Rerun from here…")}
              </Button>
            </Group>
          )}
        </Stack>
      </ScrollArea>
      <RerunDialog
        executionId={executionId}
        document={document}
        opened={isRerunOpen}
        onClose={() => setRerunOpen(false)}
        from={{ nodeId, label }}
      />
    </section>
  );
}

const NOT_STARTED: Record<string, string> = {
  failed: "The execution failed before this node started",
  cancelled: "The execution was cancelled before this node started",
};

/** Names the items of a run by their numbers: `Item 4`, or `Item 4.1` of a loop in a loop. */
function itemLabel(runId: string, t: TFunction): string {
  const indices = parseRunId(runId).path.match(/\d+/g) ?? [];
  return t("Item {{number}}", { number: indices.map((index) => Number(index) + 1).join(".") });
}

function withoutOverlay(data: Record<string, unknown> | undefined): unknown {
  if (!data) return undefined;
  const { label: _label, run: _run, ...config } = data;
  return config;
}
