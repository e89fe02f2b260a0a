import { ActionIcon, Button, Group, ScrollArea, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { IconArrowRight, IconRotate, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { TFunction } from "i18next";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import { toNodes, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { nodeLogQuery } from "workflow-orchestration-client/query";
import { useNodeOutput } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import { formatDuration, formatTime } from "../app/format";
import { Copy } from "../components/Copy";
import { ExecutionLink } from "../components/ExecutionLink";
import { ErrorAlert } from "../components/Feedback";
import { StatusBadge } from "../components/Status";
import { TypeIcon } from "../components/TypeIcon";
import { Approval, mayHaveTask } from "./Approval";
import { Compare } from "./Compare";
import { nodeIdOf, runsOf, skipReason } from "./definition";
import { parseRunId } from "./loops";
import { Payload } from "./Payload";
import { RerunDialog } from "./RerunDialog";
import { RunPicker } from "./RunPicker";
import { TryNode } from "./TryNode";
import { countsOf, formatCost, useUsage } from "./usage";

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
            <Data
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

/** The payloads of a node run, which are requested here and nowhere else. */
function Data({
  executionId,
  execution,
  log,
  config,
}: {
  executionId: string;
  execution: ExecutionView;
  log: NodeLog;
  config: unknown;
}) {
  const { t, i18n } = useTranslation();
  const nodeId = log.nodeId ?? "";
  const [tab, setTab] = useState<string | null>(log.status === "error" ? "input" : "output");
  const [isComparing, setComparing] = useState(false);
  const query = useQuery(nodeLogQuery(client, executionId, nodeId, log.seq));
  const { text, isStreaming } = useNodeOutput(executionId, nodeId);
  const whole = query.data;
  const payload = (side: "inputData" | "outputData") => {
    if (query.error) return <ErrorAlert error={query.error} retry={() => void query.refetch()} />;
    if (side === "outputData" && isStreaming && text)
      return (
        <Text size="sm" className="streamed">
          {text}
        </Text>
      );
    if (query.isPending)
      return (
        <Stack gap={6}>
          <Skeleton height={12} width="70%" />
          <Skeleton height={12} width="50%" />
          <Skeleton height={12} width="60%" />
        </Stack>
      );
    return (
      <>
        {isComparing ? (
          <Compare
            executionId={executionId}
            workflowId={execution.workflowId}
            nodeId={nodeId}
            side={side}
            value={whole?.[side]}
          />
        ) : (
          <Payload value={whole?.[side]} name={`${nodeId}-${side}`} />
        )}
        <Button
          mt={6}
          size="compact-xs"
          variant="subtle"
          color="gray"
          onClick={() => setComparing(!isComparing)}
        >
          {isComparing ? t("Show the data") : t("Compare with the previous run")}
        </Button>
      </>
    );
  };
  const used = useUsage(executionId, execution)?.nodes.find((entry) => entry.nodeId === nodeId);
  const facts: [string, string][] = [
    ["Started", formatTime(log.startedAt ?? log.timestamp, i18n.language)],
    ["Duration", typeof log.duration === "number" ? formatDuration(log.duration) : "–"],
    ["Waited", log.waitedMs ? formatDuration(log.waitedMs) : "–"],
    ["Attempt", String(log.attempt)],
    ["Last error", log.lastError ?? "–"],
    ["Message", log.message ?? "–"],
    ["Model", used?.model ?? "–"],
    ["Tokens", used ? t("{{input}} in, {{output}} out", countsOf(used, i18n.language)) : "–"],
    ["Cost", used?.costUsd == null ? "–" : formatCost(used.costUsd, i18n.language)],
  ];
  return (
    <Tabs value={tab} onChange={setTab} keepMounted={false}>
      <Tabs.List mb={8}>
        <Tabs.Tab value="input">{t("Input")}</Tabs.Tab>
        <Tabs.Tab value="output">{t("Output")}</Tabs.Tab>
        <Tabs.Tab value="config">{t("Config")}</Tabs.Tab>
        <Tabs.Tab value="log">{t("Log")}</Tabs.Tab>
        <Tabs.Tab value="try">{t("Try")}</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="input">{payload("inputData")}</Tabs.Panel>
      <Tabs.Panel value="output">{payload("outputData")}</Tabs.Panel>
      <Tabs.Panel value="config">
        <Payload value={config} name={`${nodeId}-config`} />
      </Tabs.Panel>
      <Tabs.Panel value="log">
        <dl className="facts">
          {facts
            .filter(([, value]) => value !== "–")
            .map(([name, value]) => (
              <div key={name}>
                <dt>{t(name)}</dt>
                <dd>{value}</dd>
              </div>
            ))}
        </dl>
      </Tabs.Panel>
      <Tabs.Panel value="try">
        {query.isPending ? (
          <Skeleton height={80} />
        ) : (
          <TryNode
            workflowId={execution.workflowId ?? ""}
            nodeId={nodeIdOf(nodeId)}
            nodeType={log.nodeType ?? ""}
            config={config}
            input={whole?.inputData}
          />
        )}
      </Tabs.Panel>
    </Tabs>
  );
}
