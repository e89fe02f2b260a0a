import { Button, Group, Skeleton, Text } from "@mantine/core";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect } from "react";
import { useTranslation } from "react-i18next";
import type { NodeLog, TaskSummary } from "workflow-orchestration-client";
import { taskQuery } from "workflow-orchestration-client/query";
import { client, queryClient } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { waitsForAnswer } from "./waits";

const TaskAnswer = lazy(async () => ({ default: (await import("../tasks/Answer")).TaskAnswer }));
const MAX_PAGE_SIZE = 1_000;

/** Returns the task of a node run; null if it waits for no person. */
async function findTask(
  executionId: string,
  nodeId: string,
  signal: AbortSignal,
): Promise<TaskSummary | null> {
  let cursor: string | undefined;
  do {
    const query = { executionId, limit: MAX_PAGE_SIZE, cursor };
    const page = await client.listTasks(query, { signal });
    const found = page.tasks.find((task) => task.nodeId === nodeId);
    if (found) return found;
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return null;
}

/** Answers a waiting node, and shows who answered one that has ended. */
export function Approval({ executionId, log }: { executionId: string; log: NodeLog }) {
  const { t } = useTranslation();
  const nodeId = log.nodeId ?? "";
  const task = useQuery({
    queryKey: ["task-of-node", executionId, nodeId],
    queryFn: ({ signal }) => findTask(executionId, nodeId, signal),
  });
  const id = task.data?.id;
  // Another person or the time limit may have ended the task.
  // biome-ignore lint/correctness/useExhaustiveDependencies: at every change of the status
  useEffect(() => {
    if (id) void queryClient.invalidateQueries({ queryKey: taskQuery(client, id).queryKey });
  }, [log.status, id]);
  const resume = useMutation({ mutationFn: () => client.resume(executionId, nodeId) });
  if (task.isPending) return <Skeleton height={96} />;
  if (id)
    return (
      <Suspense fallback={<Skeleton height={96} />}>
        <TaskAnswer taskId={id} />
      </Suspense>
    );
  if (!waitsForAnswer(log)) return null;
  return (
    <Group gap="xs" className="approval">
      <ErrorAlert error={task.error ?? resume.error} />
      <Text size="sm">{log.message || t("This node waits until it is resumed")}</Text>
      <Button
        variant="light"
        leftSection={<IconPlayerPlay size={14} />}
        loading={resume.isPending}
        onClick={() => resume.mutate()}
      >
        {t("Resume")}
      </Button>
    </Group>
  );
}
