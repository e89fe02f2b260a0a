import "./bulk.css";
import { Card, CloseButton, Group, Progress, Skeleton, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useBulk } from "workflow-orchestration-client/react";
import { client } from "../app/client";
import { ExecutionLink } from "../components/ExecutionLink";
import { ErrorAlert } from "../components/Feedback";

const TEXTS = {
  rerun: { running: "Starting reruns", completed: "Reruns started" },
  cancel: { running: "Cancelling executions", completed: "Executions cancelled" },
  delete: { running: "Deleting executions", completed: "Executions deleted" },
} as const;
const MAX_SHOWN = 20;

interface Props {
  ids: readonly string[];
  onClose: (id: string) => void;
  /** Called when an operation is completed. */
  onEnd?: () => void;
}

/** The progress of bulk operations. */
export default function BulkProgress({ ids, onClose, onEnd }: Props) {
  return (
    <Stack gap="xs" mb="sm">
      {ids.map((id) => (
        <Operation key={id} id={id} onClose={() => onClose(id)} onEnd={onEnd} />
      ))}
    </Stack>
  );
}

function Operation({
  id,
  onClose,
  onEnd,
}: {
  id: string;
  onClose: () => void;
  onEnd: (() => void) | undefined;
}) {
  const { t, i18n } = useTranslation();
  const { progress, error } = useBulk(id);
  const [isOpen, setOpen] = useState(false);
  const isCompleted = progress?.status === "completed";
  const end = useRef(onEnd);
  end.current = onEnd;
  useEffect(() => {
    if (isCompleted) end.current?.();
  }, [isCompleted]);
  const number = (value: number) => value.toLocaleString(i18n.language);
  const share = (value: number) => (progress?.matched ? (100 * value) / progress.matched : 0);
  return (
    <Card withBorder padding="sm">
      <Group justify="space-between" wrap="nowrap">
        {progress ? (
          <Text size="sm" fw={600} role="status">
            {t(TEXTS[progress.action][progress.status])}
            {": "}
            <span className="number">
              {t("{{done}} of {{total}}", {
                done: number(progress.processed),
                total: number(progress.matched),
              })}
            </span>
          </Text>
        ) : (
          <Skeleton height={16} width={200} />
        )}
        <CloseButton size="sm" aria-label={t("Hide")} onClick={onClose} />
      </Group>
      <ErrorAlert error={error} />
      {progress && (
        <>
          <Progress.Root size="sm" mt={6}>
            <Progress.Section
              value={share(progress.succeeded)}
              color={isCompleted ? "green" : "blue"}
              aria-label={t("Progress")}
            />
            {progress.failed > 0 && (
              <Progress.Section
                value={share(progress.failed)}
                color="red"
                aria-label={t("not possible")}
              />
            )}
          </Progress.Root>
          {progress.failed > 0 && (
            <Text size="sm" mt={6}>
              {t("{{number}} not possible", { number: number(progress.failed) })}{" "}
              <button
                type="button"
                className="link-button"
                aria-expanded={isOpen}
                onClick={() => setOpen(!isOpen)}
              >
                {isOpen ? t("Hide") : t("Show the reasons")}
              </button>
            </Text>
          )}
          {isOpen && <Reasons id={id} failed={progress.failed} />}
        </>
      )}
    </Card>
  );
}

/** Why an action could not be applied. */
function Reasons({ id, failed }: { id: string; failed: number }) {
  const { data, error } = useQuery({
    queryKey: ["bulk-failed", id, failed],
    queryFn: ({ signal }) =>
      client.getBulk(id, { itemStatus: "failed", limit: MAX_SHOWN }, { signal }),
  });
  if (error) return <ErrorAlert error={error} />;
  if (!data) return <Skeleton height={40} mt={6} />;
  return (
    <ul className="reasons">
      {data.items.map((item) => (
        <li key={item.executionId}>
          <ExecutionLink id={item.executionId} /> {item.error}
        </li>
      ))}
      {failed > data.items.length && <li>…</li>}
    </ul>
  );
}
