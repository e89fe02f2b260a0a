import { Button, Group, Text } from "@mantine/core";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import type { NodeLog } from "workflow-orchestration-client";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { waitText } from "./waits";

/** Shows for what a node waits. The next attempt of a retry can start before its time. */
export function Waiting({ executionId, log }: { executionId: string; log: NodeLog }) {
  const { t, i18n } = useTranslation();
  const retry = useMutation({ mutationFn: () => client.resume(executionId, log.nodeId ?? "") });
  const wait = waitText(log, i18n.language);
  if (wait === null) return null;
  return (
    <Group gap="xs">
      <ErrorAlert error={retry.error} />
      <Text size="sm">{t(wait.text, wait.values)}</Text>
      {log.waitingFor === "event" && log.message && (
        <Text size="sm" c="dimmed">
          {log.message}
        </Text>
      )}
      {log.waitingFor === "retry" && (
        <Button
          variant="light"
          leftSection={<IconPlayerPlay size={14} />}
          loading={retry.isPending}
          onClick={() => retry.mutate()}
        >
          {t("Start the attempt now")}
        </Button>
      )}
    </Group>
  );
}
