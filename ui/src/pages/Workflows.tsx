import { Badge, Button, Group, Skeleton, Text, Title } from "@mantine/core";
import { IconPlayerPlay, IconVectorBezier } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { WorkflowSummary } from "workflow-orchestration-client";
import { workflowsQuery } from "workflow-orchestration-client/query";
import { client } from "../app/client";
import { formatDuration } from "../app/format";
import { pastRunsQuery } from "../app/queries";
import { Empty, ErrorAlert } from "../components/Feedback";
import { LoadMore } from "../components/LoadMore";
import { listRole } from "../components/listRole";
import { SearchBox } from "../components/SearchBox";
import { Bars, summarize } from "../components/Trends";

const LAST_RUNS = 20;

export function Workflows() {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const list = useInfiniteQuery(workflowsQuery(client));
  const all = list.data?.pages.flatMap((page) => page.workflows) ?? [];
  const wanted = text.trim().toLowerCase();
  const shown = all.filter(
    ({ id, name }) =>
      !wanted || id.toLowerCase().includes(wanted) || name.toLowerCase().includes(wanted),
  );
  return (
    <div className="page">
      <Group justify="space-between" mb="sm">
        <Title order={1}>{t("Workflows")}</Title>
        <SearchBox label={t("Search")} value={text} onText={setText} />
      </Group>
      <ErrorAlert error={list.error} retry={() => void list.refetch()} />
      <div className="surface" {...listRole(t("Workflows"), shown.length)}>
        {list.isPending &&
          [60, 45, 52, 70, 40, 56].map((width) => (
            <div className="row" key={width}>
              <Skeleton height={14} width={`${width}%`} />
            </div>
          ))}
        {shown.map((workflow) => (
          <Row key={workflow.id} workflow={workflow} />
        ))}
        {!list.isPending && !list.error && shown.length === 0 && (
          <Empty
            icon={<IconVectorBezier size={32} stroke={1.2} />}
            title={wanted ? t("Nothing found") : t("No workflows yet")}
          >
            {!wanted && (
              <Button component={Link} to="/new">
                {t("Run a document")}
              </Button>
            )}
          </Empty>
        )}
      </div>
      <LoadMore
        hasMore={list.hasNextPage}
        isLoading={list.isFetchingNextPage}
        onLoad={list.fetchNextPage}
      />
    </div>
  );
}

function Row({ workflow }: { workflow: WorkflowSummary }) {
  const { t } = useTranslation();
  const { data } = useQuery(pastRunsQuery(workflow.id, LAST_RUNS));
  const runs = data?.executions ?? [];
  const { successRate, median } = summarize(runs);
  const params = { workflowId: workflow.id } as never;
  return (
    <div role="listitem" className="row workflow-row">
      <Link to="/workflows/$workflowId" params={params} className="workflow-name">
        <Text span fw={500} truncate>
          {workflow.name}
        </Text>
        <Group gap={4} wrap="nowrap">
          <Text span size="xs" c="dimmed" truncate>
            {workflow.id}
          </Text>
          {(Array.isArray(workflow.tags) ? workflow.tags : []).slice(0, 3).map((tag) => (
            <Badge key={String(tag)} size="xs" color="gray" tt="none">
              {String(tag)}
            </Badge>
          ))}
        </Group>
      </Link>
      <div className="workflow-bars">
        {data ? <Bars runs={runs} /> : <Skeleton height={20} width={100} />}
      </div>
      <Text size="sm" className="number workflow-number">
        {successRate === null ? "–" : `${Math.round(successRate * 100)} %`}
        <Text span size="xs" c="dimmed" display="block">
          {t("successful")}
        </Text>
      </Text>
      <Text size="sm" className="number workflow-number">
        {formatDuration(median)}
        <Text span size="xs" c="dimmed" display="block">
          {t("median")}
        </Text>
      </Text>
      <Button
        component={Link}
        to="/workflows/$workflowId"
        params={params}
        variant="light"
        leftSection={<IconPlayerPlay size={14} />}
      >
        {t("Run")}
      </Button>
    </div>
  );
}
