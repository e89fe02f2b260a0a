import "../run/run.css";
import "../bulk/bulk.css";
import { Button, Checkbox, Group, Skeleton, Text, Title } from "@mantine/core";
import { IconMoodCheck, IconRotate, IconTrash } from "@tabler/icons-react";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import type { FailureGroup } from "workflow-orchestration-client";
import { useFailures } from "workflow-orchestration-client/react";
import { formatAgo, formatTime, useNow } from "../app/format";
import { type FailureSearch, without } from "../app/router";
import { useListKeys, useRowKeys } from "../app/rows";
import type { BulkAction } from "../bulk/BulkDialog";
import { ExecutionLink } from "../components/ExecutionLink";
import { Empty, ErrorAlert } from "../components/Feedback";
import { listRole } from "../components/listRole";
import { NewRows } from "../components/NewRows";
import { WorkflowSelect } from "../components/WorkflowSelect";

const BulkDialog = lazy(() => import("../bulk/BulkDialog"));
const BulkProgress = lazy(() => import("../bulk/BulkProgress"));
const MAX_GROUPS = 1_000;

/** Failed executions with the same error, which can be repaired together. */
export function Failures() {
  const { t } = useTranslation();
  const search: FailureSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const list = useFailures({ workflowId: search.workflow, limit: MAX_GROUPS });
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const [action, setAction] = useState<BulkAction>();
  const now = useNow(true, 30_000);
  const chosen = list.failures.filter(({ fingerprint }) => selected.has(fingerprint));
  useRowKeys();
  useListKeys({ r: () => chosen.length > 0 && setAction("rerun") });
  const set = (change: FailureSearch) =>
    void navigate({ to: "/failures", search: { ...search, ...change }, replace: true });
  const toggle = (fingerprint: string, isSelected: boolean) => {
    const next = new Set(selected);
    if (isSelected) next.add(fingerprint);
    else next.delete(fingerprint);
    setSelected(next);
  };
  return (
    <div className="page">
      <Group justify="space-between" mb="sm">
        <Title order={1}>{t("Failures")}</Title>
        <Group gap="xs">
          <Button
            leftSection={<IconRotate size={14} />}
            disabled={chosen.length === 0}
            onClick={() => setAction("rerun")}
          >
            {t("Rerun…")}
          </Button>
          <Button
            variant="light"
            color="red"
            leftSection={<IconTrash size={14} />}
            disabled={chosen.length === 0}
            onClick={() => setAction("delete")}
          >
            {t("Delete…")}
          </Button>
        </Group>
      </Group>
      <Group gap="md" className="filters">
        <WorkflowSelect
          value={search.workflow}
          onChange={(workflow) => {
            setSelected(new Set());
            set({ workflow });
          }}
        />
        <Checkbox
          size="xs"
          label={t("Select all")}
          disabled={list.failures.length === 0}
          checked={chosen.length > 0 && chosen.length === list.failures.length}
          indeterminate={chosen.length > 0 && chosen.length < list.failures.length}
          onChange={(event) =>
            setSelected(
              new Set(
                event.currentTarget.checked
                  ? list.failures.map(({ fingerprint }) => fingerprint)
                  : [],
              ),
            )
          }
        />
      </Group>
      <ErrorAlert error={list.error} retry={() => void list.refresh()} />
      {search.bulk && (
        <Suspense fallback={<Skeleton height={60} mb="sm" />}>
          <BulkProgress
            ids={search.bulk}
            onClose={(id) => set({ bulk: without(search.bulk, id) })}
            onEnd={() => void list.refresh()}
          />
        </Suspense>
      )}
      <NewRows count={list.newCount} onShow={list.showNew} />
      <div className="surface" {...listRole(t("Failures"), list.failures.length)}>
        {list.isLoading &&
          list.failures.length === 0 &&
          [62, 48, 55].map((width) => (
            <div className="row" key={width}>
              <Skeleton height={14} width={`${width}%`} />
            </div>
          ))}
        {list.failures.map((group) => (
          <Row
            key={group.fingerprint}
            group={group}
            now={now}
            isSelected={selected.has(group.fingerprint)}
            onSelect={(isSelected) => toggle(group.fingerprint, isSelected)}
          />
        ))}
        {!list.isLoading && !list.error && list.failures.length === 0 && (
          <Empty icon={<IconMoodCheck size={32} stroke={1.2} />} title={t("Nothing has failed")} />
        )}
      </div>
      {action && (
        <Suspense>
          <BulkDialog
            action={action}
            targets={chosen.map(({ fingerprint }) => ({
              filter: { failure: fingerprint },
            }))}
            onClose={() => setAction(undefined)}
            onStarted={(ids) => {
              setAction(undefined);
              setSelected(new Set());
              set({ bulk: [...ids, ...(search.bulk ?? [])] });
            }}
          />
        </Suspense>
      )}
    </div>
  );
}

interface RowProps {
  group: FailureGroup;
  now: number;
  isSelected: boolean;
  onSelect: (isSelected: boolean) => void;
}

function Row({ group, now, isSelected, onSelect }: RowProps) {
  const { t, i18n } = useTranslation();
  const number = (value: number) => value.toLocaleString(i18n.language);
  const time = (at: string) => (
    <span title={formatTime(at, i18n.language)}>{formatAgo(at, now, i18n.language)}</span>
  );
  return (
    <div role="listitem" className="row failure" data-selected={isSelected || undefined}>
      <Checkbox
        size="xs"
        data-row
        aria-label={t("Select “{{message}}”", { message: group.message })}
        checked={isSelected}
        onChange={(event) => onSelect(event.currentTarget.checked)}
      />
      <div className="cell-name">
        <Text size="sm" fw={500} lineClamp={2} c="var(--mantine-color-red-text)">
          {group.message}
        </Text>
        <Text size="xs" c="dimmed" truncate>
          <Link
            to="/workflows/$workflowId"
            params={{ workflowId: group.workflowId }}
            className="title-link"
          >
            {group.workflowName}
          </Link>
          {[group.nodeId, group.nodeType].filter(Boolean).map((text) => ` · ${text}`)}
        </Text>
      </div>
      <div className="failure-count">
        <Text fw={600} className="number">
          {number(group.count)}
        </Text>
        {group.rerunCount > 0 && (
          <Text size="xs" c="dimmed" className="number">
            {t("{{number}} run again", { number: number(group.rerunCount) })}
          </Text>
        )}
      </div>
      <Text size="xs" c="dimmed" className="number failure-times" component="div">
        <div>
          {t("last")} {time(group.lastAt)}
        </div>
        <div>
          {t("first")} {time(group.firstAt)}
        </div>
      </Text>
      <Group gap={8} className="failure-links">
        {group.executionIds.map((id) => (
          <Text span size="xs" key={id}>
            <ExecutionLink id={id} node={group.nodeId ?? undefined} />
          </Text>
        ))}
      </Group>
    </div>
  );
}
