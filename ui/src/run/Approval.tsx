import "./run.css";
import { Button, Group, Stack, Text, Textarea } from "@mantine/core";
import { IconCheck, IconX } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { NodeLog } from "workflow-orchestration-client";
import { client } from "../app/client";
import { formatTime } from "../app/format";
import { ErrorAlert } from "../components/Feedback";

/** Whether people, not a time or a child execution, end the wait of a node. */
export const isForPeople = (log: NodeLog): boolean =>
  log.status === "waiting" &&
  log.childExecutionId === null &&
  log.nodeType !== "wait" &&
  log.nodeType !== "forEach" &&
  log.lastError === null;

/** Answers a waiting node. */
export function Approval({
  executionId,
  log,
  onDone,
}: {
  executionId: string;
  log: NodeLog;
  onDone?: () => void;
}) {
  const { t, i18n } = useTranslation();
  const [comment, setComment] = useState("");
  const [pending, setPending] = useState<boolean>();
  const [error, setError] = useState<unknown>();
  const answer = async (approved: boolean) => {
    setPending(approved);
    setError(undefined);
    try {
      const data = comment.trim() ? { comment: comment.trim() } : undefined;
      await client.resume(executionId, log.nodeId ?? "", { approved, data });
      onDone?.();
    } catch (thrown) {
      setError(thrown);
    } finally {
      setPending(undefined);
    }
  };
  return (
    <Stack gap="xs" className="approval">
      <Text fw={600}>{log.message || t("This node waits for an answer")}</Text>
      {log.waitUntil && (
        <Text size="xs" c="dimmed">
          {t("Until {{time}}", { time: formatTime(log.waitUntil, i18n.language) })}
        </Text>
      )}
      <Textarea
        size="xs"
        autosize
        minRows={1}
        maxRows={4}
        label={t("Comment (optional)")}
        value={comment}
        onChange={(event) => setComment(event.currentTarget.value)}
      />
      <ErrorAlert error={error} />
      <Group gap="xs">
        <Button
          color="green"
          leftSection={<IconCheck size={14} />}
          loading={pending === true}
          disabled={pending === false}
          onClick={() => void answer(true)}
        >
          {t("Approve")}
        </Button>
        <Button
          color="red"
          variant="light"
          leftSection={<IconX size={14} />}
          loading={pending === false}
          disabled={pending === true}
          onClick={() => void answer(false)}
        >
          {t("Reject")}
        </Button>
      </Group>
    </Stack>
  );
}
