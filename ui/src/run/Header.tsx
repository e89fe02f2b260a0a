import {
  ActionIcon,
  Alert,
  Anchor,
  Button,
  Group,
  Menu,
  Progress,
  Text,
  Title,
  Tooltip,
} from "@mantine/core";
import {
  IconAlertTriangle,
  IconArrowLeft,
  IconChevronDown,
  IconDots,
  IconPlayerStop,
  IconRotate,
} from "@tabler/icons-react";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Execution, ExecutionView } from "workflow-orchestration-client";
import { client } from "../app/client";
import { between, formatAgo, formatDuration, formatTime, useNow } from "../app/format";
import { isUnsaved } from "../app/ids";
import { useListKeys } from "../app/rows";
import { Copy, Id } from "../components/Copy";
import { ExecutionLink } from "../components/ExecutionLink";
import { ErrorAlert } from "../components/Feedback";
import { StatusBadge } from "../components/Status";
import type { Definition } from "./definition";
import { RerunDialog } from "./RerunDialog";
import { countsOf, usageText, useUsage } from "./usage";

interface Props {
  executionId: string;
  execution: ExecutionView;
  details: Execution | undefined;
  definition: Definition | null | undefined;
  onSelect: (nodeId: string) => void;
}

export function RunHeader({ executionId, execution, details, definition, onSelect }: Props) {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const now = useNow(execution.active, 250);
  const [error, setError] = useState<unknown>();
  const [pending, setPending] = useState<"cancel" | "rerun">();
  const [isRerunOpen, setRerunOpen] = useState(false);
  const failed = [...execution.nodes].find(
    ([, log]) => log.status === "error" && execution.status === "failed",
  );
  const elapsed = between(
    details?.startedAt ?? details?.createdAt,
    execution.active ? null : details?.completedAt,
    now,
  );
  const usage = useUsage(executionId, execution);
  const name = definition?.workflowName ?? execution.workflowId ?? executionId;

  const act = async (kind: "cancel" | "rerun", action: () => Promise<unknown>) => {
    setPending(kind);
    setError(undefined);
    try {
      await action();
    } catch (thrown) {
      setError(thrown);
    } finally {
      setPending(undefined);
    }
  };
  const cancel = () => void act("cancel", () => client.cancel(executionId));
  const rerun = () =>
    void act("rerun", async () => {
      const { executionId: id } = await client.rerun(executionId);
      await navigate({ to: "/executions/$executionId", params: { executionId: id } });
    });
  useListKeys({
    c: () => execution.active && cancel(),
    r: () => !execution.active && rerun(),
  });

  return (
    <header className="run-header">
      <Group justify="space-between" gap="sm" align="flex-start" className="run-top">
        <Group gap="sm" wrap="nowrap" align="flex-start" className="run-heading">
          <Tooltip label={t("Executions")}>
            <ActionIcon
              component={Link}
              to="/"
              variant="subtle"
              color="gray"
              aria-label={t("Executions")}
            >
              <IconArrowLeft size={18} />
            </ActionIcon>
          </Tooltip>
          <div className="run-title">
            <Group gap="xs" wrap="nowrap">
              <Title order={1} className="truncate">
                {execution.workflowId && !isUnsaved(execution.workflowId) ? (
                  <Anchor
                    component={Link}
                    inherit
                    c="inherit"
                    to="/workflows/$workflowId"
                    params={{ workflowId: execution.workflowId } as never}
                  >
                    {name}
                  </Anchor>
                ) : (
                  name
                )}
              </Title>
              <StatusBadge
                status={execution.status}
                extra={execution.active ? `${execution.progress.percentage} %` : undefined}
              />
            </Group>
            <Group gap="xs" className="run-facts">
              <Id value={executionId} />
              <Text size="xs" c="dimmed" className="number">
                {formatDuration(elapsed)}
              </Text>
              <Tooltip label={formatTime(details?.createdAt, i18n.language)}>
                <Text size="xs" c="dimmed">
                  {formatAgo(details?.createdAt, now, i18n.language)}
                </Text>
              </Tooltip>
              <Text size="xs" c="dimmed" className="number">
                {t("{{done}} of {{total}} nodes", {
                  done:
                    execution.progress.completedNodes +
                    execution.progress.skippedNodes +
                    execution.progress.failedNodes,
                  total: execution.progress.totalNodes,
                })}
              </Text>
              {usage && (
                <Tooltip label={t("{{input}} in, {{output}} out", countsOf(usage, i18n.language))}>
                  <Text size="xs" c="dimmed" className="number">
                    {usageText(usage, t, i18n.language)}
                  </Text>
                </Tooltip>
              )}
              {details?.queuePosition ? (
                <Text size="xs" c="dimmed">
                  {t("Position {{position}} in the queue", { position: details.queuePosition })}
                </Text>
              ) : null}
              {details?.rerunOf && (
                <Text size="xs" c="dimmed">
                  {t("rerun of")} <ExecutionLink id={details.rerunOf} />
                </Text>
              )}
              {details?.parentExecutionId && (
                <Text size="xs" c="dimmed">
                  {t("child of")} <ExecutionLink id={details.parentExecutionId} />
                </Text>
              )}
            </Group>
          </div>
        </Group>
        <Group gap={6} wrap="nowrap" className="run-actions">
          {execution.active ? (
            <Button
              color="orange"
              variant="light"
              leftSection={<IconPlayerStop size={14} />}
              loading={pending === "cancel"}
              onClick={cancel}
            >
              {t("Cancel")}
            </Button>
          ) : (
            <Button.Group>
              <Button
                leftSection={<IconRotate size={14} />}
                loading={pending === "rerun"}
                onClick={rerun}
              >
                {t("Rerun")}
              </Button>
              <Menu position="bottom-end">
                <Menu.Target>
                  <Button px={6} aria-label={t("More ways to rerun")}>
                    <IconChevronDown size={14} />
                  </Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item onClick={() => setRerunOpen(true)}>
                    {t("Rerun with changed inputs…")}
                  </Menu.Item>
                </Menu.Dropdown>
              </Menu>
            </Button.Group>
          )}
          <Menu position="bottom-end">
            <Menu.Target>
              <ActionIcon variant="subtle" color="gray" aria-label={t("More")}>
                <IconDots size={18} />
              </ActionIcon>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item onClick={() => void navigator.clipboard?.writeText(location.href)}>
                {t("Copy the link")}
              </Menu.Item>
              <Menu.Item onClick={() => void navigator.clipboard?.writeText(executionId)}>
                {t("Copy the id")}
              </Menu.Item>
            </Menu.Dropdown>
          </Menu>
        </Group>
      </Group>
      {execution.active && (
        <Progress
          value={execution.progress.percentage}
          size="xs"
          mt={8}
          animated
          aria-label={t("Progress")}
        />
      )}
      <ErrorAlert error={error} />
      {execution.error && (
        <Alert
          color="red"
          mt="sm"
          role="alert"
          icon={<IconAlertTriangle size={18} />}
          className="run-error"
        >
          <Group justify="space-between" wrap="nowrap" align="center" gap="sm">
            <Text size="sm" className="error-text">
              {execution.error}
              {failed && failed[1].attempt > 1
                ? ` (${t("attempt {{attempt}}", { attempt: failed[1].attempt })})`
                : ""}
            </Text>
            <Group gap={4} wrap="nowrap">
              {failed && (
                <Button color="red" variant="light" onClick={() => onSelect(failed[0])}>
                  {t("Open node")}
                </Button>
              )}
              <Copy value={execution.error} label={t("Copy the error")} />
            </Group>
          </Group>
        </Alert>
      )}
      <RerunDialog
        executionId={executionId}
        document={definition?.data}
        opened={isRerunOpen}
        onClose={() => setRerunOpen(false)}
      />
    </header>
  );
}
