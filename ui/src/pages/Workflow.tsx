import { ActionIcon, Card, Group, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconArrowLeft } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useEffect } from "react";
import { useTranslation } from "react-i18next";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { validationQuery, workflowQuery } from "workflow-orchestration-client/query";
import { useExecutions } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import { formatDuration } from "../app/format";
import { pastRunsQuery } from "../app/queries";
import { Id } from "../components/Copy";
import { ExecutionList } from "../components/ExecutionList";
import { ErrorAlert } from "../components/Feedback";
import { Problems } from "../components/Problems";
import { Bars, summarize } from "../components/Trends";
import { RunForm } from "../run/RunForm";
import { UsageTrend } from "../run/UsageTrend";
import { workflowUsageQuery } from "../run/usage";

const Graph = lazy(() => import("../run/Graph"));
const TREND_RUNS = 100;

export function WorkflowPage() {
  const { t } = useTranslation();
  const { workflowId } = useParams({ strict: false }) as { workflowId: string };
  const workflow = useQuery(workflowQuery(client, workflowId));
  const check = useQuery(validationQuery(client, { workflowId }));
  const past = useQuery(pastRunsQuery(workflowId, TREND_RUNS));
  const list = useExecutions({ workflowId, limit: 50 });
  const document = workflow.data?.data as WorkflowDocument | undefined;
  const name = workflow.data?.name ?? workflowId;
  const runs = past.data?.executions ?? [];
  const summary = summarize(runs);
  useEffect(() => {
    window.document.title = name;
  }, [name]);
  const usage = useQuery(workflowUsageQuery(workflowId, TREND_RUNS));
  const usages = usage.data?.executions ?? [];
  const failures = runs.filter(({ status }) => status === "failed").length;
  return (
    <div className="page">
      <Group gap="sm" mb="sm" wrap="nowrap">
        <ActionIcon
          component={Link}
          to="/workflows"
          variant="subtle"
          color="gray"
          aria-label={t("Workflows")}
        >
          <IconArrowLeft size={18} />
        </ActionIcon>
        <Title order={1} className="truncate">
          {name}
        </Title>
        <Id value={workflowId} />
      </Group>
      <ErrorAlert error={workflow.error} retry={() => void workflow.refetch()} />
      <div className="columns">
        <Stack gap="md" miw={0}>
          <Card withBorder padding={0} className="graph-card">
            {document ? (
              <Suspense fallback={<Skeleton height={320} />}>
                <Graph document={document} problems={check.data?.errors} />
              </Suspense>
            ) : (
              <Skeleton height={320} />
            )}
          </Card>
          <Problems problems={check.data?.errors} />
          <div>
            <Group justify="space-between" mb={6}>
              <Title order={2}>{t("Executions")}</Title>
              {list.newCount > 0 && (
                <button type="button" className="link-button" onClick={list.showNew}>
                  {t("Show {{count}} new", { count: list.newCount })}
                </button>
              )}
            </Group>
            <ErrorAlert error={list.error} retry={list.refresh} />
            <div className="surface">
              <ExecutionList executions={list.executions} isLoading={list.isLoading} hideWorkflow />
              {!list.isLoading && list.executions.length === 0 && (
                <Text size="sm" c="dimmed" p="md">
                  {t("No executions yet")}
                </Text>
              )}
            </div>
          </div>
        </Stack>
        <Stack gap="md">
          <Card withBorder>
            <Title order={2} mb="xs">
              {t("Run")}
            </Title>
            {document ? (
              <RunForm
                document={document}
                target={{ workflowId }}
                isDisabled={check.data?.valid === false}
              />
            ) : (
              <Skeleton height={80} />
            )}
          </Card>
          <Card withBorder>
            <Title order={2} mb="xs">
              {t("Trends")}
            </Title>
            <Bars runs={runs} height={64} count={40} />
            <div className="figures">
              <div>
                <Text fw={600} className="number">
                  {past.data?.total ?? "–"}
                </Text>
                <Text size="xs" c="dimmed">
                  {t("executions")}
                </Text>
              </div>
              <div>
                <Text fw={600} className="number">
                  {summary.successRate === null
                    ? "–"
                    : `${Math.round(summary.successRate * 100)} %`}
                </Text>
                <Text size="xs" c="dimmed">
                  {t("successful")}
                </Text>
              </div>
              <div>
                <Text fw={600} className="number">
                  {formatDuration(summary.median)}
                </Text>
                <Text size="xs" c="dimmed">
                  {t("median")}
                </Text>
              </div>
              <div>
                <Text fw={600} className="number">
                  {failures}
                </Text>
                <Text size="xs" c="dimmed">
                  {t("failed")}
                </Text>
              </div>
            </div>
            {usages.length > 0 && <UsageTrend usages={usages} runs={runs} />}
          </Card>
        </Stack>
      </div>
    </div>
  );
}
