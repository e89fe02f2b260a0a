import { Alert, Button, Chip, Group, Select, Text, TextInput, Title } from "@mantine/core";
import { IconInbox, IconPlayerStop, IconSearch, IconWifiOff } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { isActive } from "workflow-orchestration-client";
import { workflowsQuery } from "workflow-orchestration-client/query";
import { useExecutions } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import type { ListSearch } from "../app/router";
import { ExecutionList } from "../components/ExecutionList";
import { Empty, ErrorAlert } from "../components/Feedback";
import { lookOf, STATUSES } from "../components/Status";
import { TimeFilter, useTimes } from "../components/TimeFilter";

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
  const { data } = useInfiniteQuery(workflowsQuery(client));
  const workflows = data?.pages.flatMap((page) => page.workflows) ?? [];
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
      <Group gap="xs" mb="sm" className="filters">
        <TextInput
          data-search
          size="xs"
          w={220}
          leftSection={<IconSearch size={14} />}
          placeholder={t("Search loaded executions")}
          aria-label={t("Search loaded executions")}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        <Select
          size="xs"
          w={200}
          clearable
          searchable
          limit={100}
          placeholder={t("All workflows")}
          aria-label={t("Workflow")}
          data={workflows.map(({ id, name }) => ({ value: id, label: name }))}
          value={search.workflow ?? null}
          onChange={(workflow) => set({ workflow: workflow ?? undefined })}
          clearButtonProps={{ "aria-label": t("Clear") }}
        />
        <TimeFilter search={search} onChange={set} />
        <Chip.Group
          multiple
          value={search.status ?? []}
          onChange={(status) => set({ status: status.length > 0 ? status : undefined })}
        >
          <Group gap={4}>
            {STATUSES.map((status) => (
              <Chip
                key={status}
                value={status}
                size="xs"
                color={lookOf(status).color}
                variant="light"
              >
                {t(status)}
              </Chip>
            ))}
          </Group>
        </Chip.Group>
      </Group>
      <ErrorAlert error={list.error ?? failure} retry={list.refresh} />
      {list.connection === "connecting" && !list.isLoading && !list.error && (
        <Group gap={6} py={4} c="dimmed">
          <IconWifiOff size={14} />
          <Text size="xs">{t("Connecting…")}</Text>
        </Group>
      )}
      {list.newCount > 0 && (
        <Alert className="new-rows" p={6} mb={4} ta="center" aria-live="polite">
          <Button variant="subtle" onClick={list.showNew}>
            {t("Show {{count}} new", { count: list.newCount })}
          </Button>
        </Alert>
      )}
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
      {list.hasMore && (
        <Group justify="center" py="md">
          <Button variant="default" loading={list.isLoading} onClick={() => void list.loadMore()}>
            {t("Load more")}
          </Button>
        </Group>
      )}
    </div>
  );
}
