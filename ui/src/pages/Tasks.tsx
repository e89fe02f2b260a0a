import { Card, Group, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconMoodCheck } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useExecutions } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import { formatAgo, useNow } from "../app/format";
import { ExecutionLink } from "../components/ExecutionLink";
import { Empty, ErrorAlert } from "../components/Feedback";
import { Approval, isForPeople } from "../run/Approval";

/** The nodes that wait for people. */
export function Tasks() {
  const { t } = useTranslation();
  const list = useExecutions({ status: ["waiting"], limit: 100 });
  const waiting = list.executions.filter(({ status }) => status === "waiting");
  return (
    <div className="page narrow">
      <Title order={1} mb="sm">
        {t("Tasks")}
      </Title>
      <ErrorAlert error={list.error} retry={list.refresh} />
      <Stack gap="sm">
        {list.isLoading && <Skeleton height={120} />}
        {waiting.map((row) => (
          <WaitingNodes
            key={row.id}
            executionId={row.id}
            name={row.workflowName ?? row.workflowId}
            createdAt={row.createdAt ?? null}
          />
        ))}
        {!list.isLoading && !list.error && waiting.length === 0 && (
          <Empty
            icon={<IconMoodCheck size={32} stroke={1.2} />}
            title={t("Nothing waits for an answer")}
          />
        )}
      </Stack>
    </div>
  );
}

function WaitingNodes({
  executionId,
  name,
  createdAt,
}: {
  executionId: string;
  name: string;
  createdAt: string | null;
}) {
  const { i18n } = useTranslation();
  const now = useNow(true, 30_000);
  const { data, refetch } = useQuery({
    queryKey: ["waiting-nodes", executionId],
    queryFn: async ({ signal }) =>
      (await client.getLogs(executionId, { payloads: false }, { signal })).logs.filter(isForPeople),
  });
  return (data ?? []).map((log) => (
    <Card withBorder key={log.nodeId}>
      <Group justify="space-between" mb="xs" wrap="nowrap">
        <Text size="sm">
          <ExecutionLink id={executionId} node={log.nodeId ?? undefined}>
            {name} · {log.nodeLabel}
          </ExecutionLink>
        </Text>
        <Text size="xs" c="dimmed">
          {formatAgo(log.waitingSince ?? createdAt, now, i18n.language)}
        </Text>
      </Group>
      <Approval executionId={executionId} log={log} onDone={() => void refetch()} />
    </Card>
  ));
}
