import { Button, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import { useNodeOutput } from "workflow-orchestration-client/react";
import { formatDuration, formatTime } from "../app/format";
import { ErrorAlert } from "../components/Feedback";
import { Compare } from "./Compare";
import { nodeIdOf } from "./definition";
import { OnDemand } from "./OnDemand";
import { Payload } from "./Payload";
import { readWhole, type Side, shownLogQuery } from "./payloads";
import { TryNode } from "./TryNode";
import { countsOf, formatCost, useUsage } from "./usage";

/** The payloads of a node run, which are requested here and nowhere else. */
export function NodeData({
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
  const query = useQuery(shownLogQuery(executionId, nodeId, log.seq));
  const { text, isStreaming } = useNodeOutput(executionId, nodeId, { log: false });
  const shown = query.data;
  const payload = (side: Side) => {
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
          <Compare executionId={executionId} nodeId={nodeId} side={side} value={shown?.[side]} />
        ) : (
          <OnDemand
            value={shown?.[side]}
            name={`${nodeId}-${side}`}
            read={() => readWhole(executionId, nodeId, side)}
          />
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
            input={shown?.inputData}
            readInput={() => readWhole(executionId, nodeId, "inputData")}
          />
        )}
      </Tabs.Panel>
    </Tabs>
  );
}
