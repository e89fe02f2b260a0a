import { Button, Group, Skeleton, Text, Title } from "@mantine/core";
import { IconInbox, IconPlayerStop, IconWifiOff } from "@tabler/icons-react";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { isActive } from "workflow-orchestration-client";
import { useExecutions } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import type { ListSearch } from "../app/router";
import { useTimes } from "../app/times";
import { ExecutionList } from "../components/ExecutionList";
import { Empty, ErrorAlert } from "../components/Feedback";
import { LoadMore } from "../components/LoadMore";
import { NewRows } from "../components/NewRows";

const ExecutionFilters = lazy(() => import("../components/ExecutionFilters"));
const PAGE_SIZE = 100;

export function Executions() {
  const { t } = useTranslation();
  const search: ListSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [failure, setFailure] = useState<unknown>();
  const times = useTimes(search);
  const list = useExecutions({
    status: search.status as never,
    workflowId: search.workflow,
    organizationId: search.organization,
    ...times,
    limit: PAGE_SIZE,
  });
  const set = (change: Partial<ListSearch>) =>
    void navigate({ to: "/", search: { ...search, ...change }, replace: true });

  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return list.executions;
    return list.executions.filter((row) =>
      [row.id, row.workflowName, row.workflowId, row.error].some((value) =>
        value?.toLowerCase().includes(wanted),
      ),
    );
  }, [list.executions, text]);
  const cancellable = list.executions.filter((row) => selected.has(row.id) && isActive(row.status));
  const cancelSelected = async () => {
    const results = await Promise.allSettled(cancellable.map((row) => client.cancel(row.id)));
    setFailure(results.find((result) => result.status === "rejected")?.reason);
    setSelected(new Set());
  };
  const isFiltered = Boolean(
    search.status || search.workflow || search.organization || search.from || search.to || text,
  );

  return (
    <div className="page">
      <Group justify="space-between" mb="sm">
        <Title order={1}>{t("Executions")}</Title>
        {cancellable.length > 0 && (
          <Button
            color="orange"
            variant="light"
            leftSection={<IconPlayerStop size={14} />}
            onClick={cancelSelected}
          >
            {t("Cancel {{count}}", { count: cancellable.length })}
          </Button>
        )}
      </Group>
      <div className="filters">
        <Suspense fallback={<Skeleton height={30} />}>
          <ExecutionFilters search={search} onChange={set} text={text} onText={setText} />
        </Suspense>
      </div>
      <ErrorAlert error={list.error ?? failure} retry={list.refresh} />
      {list.connection === "connecting" && !list.isLoading && !list.error && (
        <Group gap={6} py={4} c="dimmed">
          <IconWifiOff size={14} />
          <Text size="xs">{t("Connecting…")}</Text>
        </Group>
      )}
      <NewRows count={list.newCount} onShow={list.showNew} />
      <div className="surface">
        <ExecutionList
          executions={shown}
          isLoading={list.isLoading}
          selected={selected}
          onSelect={setSelected}
        />
        {!list.isLoading && !list.error && shown.length === 0 && (
          <Empty
            icon={<IconInbox size={32} stroke={1.2} />}
            title={isFiltered ? t("No execution matches the filters") : t("No executions yet")}
          >
            {isFiltered ? (
              <Button
                variant="light"
                onClick={() => {
                  setText("");
                  void navigate({ to: "/" });
                }}
              >
                {t("Clear the filters")}
              </Button>
            ) : (
              <Button component={Link} to="/workflows">
                {t("Run a workflow")}
              </Button>
            )}
          </Empty>
        )}
      </div>
      <LoadMore hasMore={list.hasMore} isLoading={list.isLoading} onLoad={list.loadMore} />
    </div>
  );
}
