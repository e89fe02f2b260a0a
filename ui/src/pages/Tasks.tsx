import "../run/run.css";
import { Button, Group, NativeSelect, Skeleton, Text, Title } from "@mantine/core";
import { IconChevronDown, IconMoodCheck } from "@tabler/icons-react";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { taskQuery } from "workflow-orchestration-client/query";
import { type LiveTask, useTasks } from "workflow-orchestration-client/react";
import { client, queryClient } from "../app/client";
import { formatAgo, formatTime, useNow } from "../app/format";
import { TASK_STATES, type TaskSearch } from "../app/router";
import { useRowKeys } from "../app/rows";
import { ExecutionLink } from "../components/ExecutionLink";
import { Empty, ErrorAlert } from "../components/Feedback";
import { LoadMore } from "../components/LoadMore";
import { listRole } from "../components/listRole";
import { NewRows } from "../components/NewRows";
import { SearchBox } from "../components/SearchBox";
import { TaskAnswer } from "../tasks/Answer";
import { TaskBadge } from "../tasks/Outcome";

const PAGE_SIZE = 50;
const TYPING_MS = 300;

/** The tasks of people: filters, live rows, and the form of the open one. */
export function Tasks() {
  const { t } = useTranslation();
  const search: TaskSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const status = search.status ?? "open";
  const list = useTasks({
    assignee: search.assignee,
    status: status === "all" ? undefined : [status],
    limit: PAGE_SIZE,
  });
  const now = useNow(true, 30_000);
  useRowKeys();
  const set = (change: TaskSearch) =>
    void navigate({ to: "/tasks", search: { ...search, ...change }, replace: true });
  const isListed = list.tasks.some(({ id }) => id === search.task);
  return (
    <div className="page narrow">
      <Title order={1} mb="sm">
        {t("Tasks")}
      </Title>
      <Group gap="xs" className="filters">
        <AssigneeFilter
          value={search.assignee ?? ""}
          onChange={(assignee) => set({ assignee: assignee || undefined })}
        />
        <NativeSelect
          size="xs"
          aria-label={t("Status")}
          data={TASK_STATES.map((value) => ({ value, label: t(value) }))}
          value={status}
          onChange={(event) => {
            const value = event.currentTarget.value as TaskSearch["status"];
            set({ status: value === "open" ? undefined : value });
          }}
        />
      </Group>
      <ErrorAlert error={list.error} retry={() => void list.refresh()} />
      <NewRows count={list.newCount} onShow={list.showNew} />
      {search.task !== undefined && !list.isLoading && !isListed && (
        <div className="surface task-body">
          <TaskAnswer taskId={search.task} assignee={search.assignee} />
        </div>
      )}
      <div className="surface" {...listRole(t("Tasks"), list.tasks.length)}>
        {list.isLoading &&
          list.tasks.length === 0 &&
          [62, 48, 55].map((width) => (
            <div className="row" key={width}>
              <Skeleton height={14} width={`${width}%`} />
            </div>
          ))}
        {list.tasks.map((task) => (
          <Row
            key={task.id}
            task={task}
            now={now}
            isOpen={task.id === search.task}
            assignee={search.assignee}
            onToggle={() => set({ task: task.id === search.task ? undefined : task.id })}
            onDone={() => void list.refresh()}
          />
        ))}
        {!list.isLoading && !list.error && list.tasks.length === 0 && (
          <Empty
            icon={<IconMoodCheck size={32} stroke={1.2} />}
            title={
              search.assignee || search.status
                ? t("No task matches the filters")
                : t("Nothing waits for an answer")
            }
          >
            {(search.assignee || search.status) && (
              <Button variant="light" onClick={() => void navigate({ to: "/tasks" })}>
                {t("Clear the filters")}
              </Button>
            )}
          </Empty>
        )}
      </div>
      <LoadMore hasMore={list.hasMore} isLoading={list.isLoading} onLoad={list.loadMore} />
    </div>
  );
}

/** Filters after a pause in typing, because each filter is a request. */
function AssigneeFilter({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { t } = useTranslation();
  const [text, setText] = useState(value);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a new text starts the pause
  useEffect(() => {
    if (text.trim() === value) return;
    const timer = setTimeout(() => onChange(text.trim()), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => setText(value), [value]);
  return <SearchBox label={t("Assignee")} value={text} onText={setText} />;
}

interface RowProps {
  task: LiveTask;
  now: number;
  isOpen: boolean;
  assignee: string | undefined;
  onToggle: () => void;
  onDone: () => void;
}

function Row({ task, now, isOpen, assignee, onToggle, onDone }: RowProps) {
  const { t, i18n } = useTranslation();
  const people = task.assignees.length > 0 ? task.assignees.join(", ") : t("any person");
  // biome-ignore lint/correctness/useExhaustiveDependencies: at every change that the list shows
  useEffect(() => {
    void queryClient.invalidateQueries({ queryKey: taskQuery(client, task.id).queryKey });
  }, [task.hasLeft, task.status, task.approvals, task.rejections]);
  const bodyId = `task-${task.id}`;
  return (
    <div role="listitem" className="task" data-left={task.hasLeft || undefined}>
      <button
        type="button"
        className="row task-row"
        data-row
        aria-expanded={isOpen}
        aria-controls={isOpen ? bodyId : undefined}
        onClick={onToggle}
      >
        <IconChevronDown size={16} className="chevron" data-open={isOpen || undefined} />
        <span className="cell-name">
          <Text span truncate={!isOpen} fw={500} className="question">
            {task.message || task.nodeLabel || task.nodeId}
          </Text>
          <Text span truncate size="xs" c="dimmed">
            {[task.workflowName ?? task.workflowId, task.nodeLabel ?? task.nodeId, people].join(
              " · ",
            )}
          </Text>
        </span>
        <span className="task-meta">
          {task.required > 1 && (
            <Text span size="xs" c="dimmed" className="number">
              {t("{{count}} of {{required}}", { count: task.approvals, required: task.required })}
            </Text>
          )}
          {task.hasLeft && task.status === "open" ? (
            <Text span size="xs" c="dimmed">
              {t("ended")}
            </Text>
          ) : (
            <TaskBadge task={task} />
          )}
          <Text
            span
            size="sm"
            c="dimmed"
            className="number task-time"
            title={formatTime(task.createdAt, i18n.language)}
          >
            {formatAgo(task.createdAt, now, i18n.language)}
          </Text>
        </span>
      </button>
      {isOpen && (
        <div id={bodyId} className="task-body">
          <TaskAnswer taskId={task.id} assignee={assignee} onDone={onDone} hideQuestion />
          <Text size="sm" mt={8}>
            <ExecutionLink id={task.executionId} node={task.nodeId}>
              {t("Open the execution")}
            </ExecutionLink>
          </Text>
        </div>
      )}
    </div>
  );
}
