import { Button, Group, Skeleton, Text, Title } from "@mantine/core";
import { IconInbox, IconPlayerStop, IconRotate, IconTrash, IconWifiOff } from "@tabler/icons-react";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { type BulkFilter, isActive } from "workflow-orchestration-client";
import { type LiveExecution, useExecutions } from "workflow-orchestration-client/react";
import { type ListSearch, without } from "../app/router";
import { useTimes } from "../app/times";
import type { BulkAction } from "../bulk/BulkDialog";
import { ExecutionList } from "../components/ExecutionList";
import { Empty, ErrorAlert } from "../components/Feedback";
import { LoadMore } from "../components/LoadMore";
import { NewRows } from "../components/NewRows";

const ExecutionFilters = lazy(() => import("../components/ExecutionFilters"));
const BulkDialog = lazy(() => import("../bulk/BulkDialog"));
const BulkProgress = lazy(() => import("../bulk/BulkProgress"));
const PAGE_SIZE = 100;

/** The executions to which an action can be applied, if the filter has no status. */
const STATUSES_FOR: Record<BulkAction, BulkFilter["status"]> = {
  cancel: ["pending", "running", "waiting"],
  rerun: ["failed"],
  delete: ["completed", "failed", "cancelled"],
};

/** Returns the selected executions to which an action can be applied. */
const idsFor = (action: BulkAction, rows: readonly LiveExecution[]): string[] =>
  rows.filter((row) => isActive(row.status) === (action === "cancel")).map(({ id }) => id);

export function Executions() {
  const { t } = useTranslation();
  const search: ListSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [action, setAction] = useState<BulkAction>();
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
  const chosen = list.executions.filter((row) => selected.has(row.id));
  const endedCount = chosen.filter((row) => !isActive(row.status)).length;
  const hasFilter = Boolean(
    search.status || search.workflow || search.organization || search.from || search.to,
  );
  const isFiltered = hasFilter || text !== "";
  /** The filter of the list for an action. The service requires more than an organization. */
  const matchingFor = (wanted: BulkAction): BulkFilter => ({
    status: (search.status as BulkFilter["status"]) ?? STATUSES_FOR[wanted],
    workflowId: search.workflow,
    organizationId: search.organization,
    ...times,
  });
  const organizations = useMemo(() => {
    const ids = list.executions.map(({ organizationId }) => organizationId);
    return [...new Set(ids.filter((id) => typeof id === "string"))].sort();
  }, [list.executions]);

  return (
    <div className="page">
      <Group justify="space-between" mb="sm">
        <Title order={1}>{t("Executions")}</Title>
        {chosen.length > 0 && (
          <Group gap="xs">
            <Text size="sm" c="dimmed" className="number">
              {t("{{number}} selected", { number: chosen.length })}
            </Text>
            <Button
              color="orange"
              variant="light"
              disabled={endedCount === chosen.length}
              leftSection={<IconPlayerStop size={14} />}
              onClick={() => setAction("cancel")}
            >
              {t("Cancel…")}
            </Button>
            <Button
              variant="light"
              disabled={endedCount === 0}
              leftSection={<IconRotate size={14} />}
              onClick={() => setAction("rerun")}
            >
              {t("Rerun…")}
            </Button>
            <Button
              color="red"
              variant="light"
              disabled={endedCount === 0}
              leftSection={<IconTrash size={14} />}
              onClick={() => setAction("delete")}
            >
              {t("Delete…")}
            </Button>
          </Group>
        )}
      </Group>
      <div className="filters">
        <Suspense fallback={<Skeleton height={30} />}>
          <ExecutionFilters
            search={search}
            onChange={set}
            text={text}
            onText={setText}
            organizations={organizations}
          />
        </Suspense>
      </div>
      <ErrorAlert error={list.error} retry={list.refresh} />
      {search.bulk && (
        <Suspense fallback={<Skeleton height={60} mb="sm" />}>
          <BulkProgress
            ids={search.bulk}
            onClose={(id) => set({ bulk: without(search.bulk, id) })}
            onEnd={list.refresh}
          />
        </Suspense>
      )}
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
      {action && (
        <Suspense>
          <BulkDialog
            action={action}
            targets={[{ ids: idsFor(action, chosen) }]}
            matching={hasFilter && !text ? matchingFor(action) : undefined}
            onClose={() => setAction(undefined)}
            onStarted={(ids) => {
              setAction(undefined);
              setSelected(new Set());
              set({ bulk: [...ids, ...(search.bulk ?? [])] });
            }}
          />
        </Suspense>
      )}
      <LoadMore hasMore={list.hasMore} isLoading={list.isLoading} onLoad={list.loadMore} />
    </div>
  );
}
