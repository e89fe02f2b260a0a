import { Button, Checkbox, Group, Modal, Radio, Skeleton, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { BulkFilter, BulkRequest } from "workflow-orchestration-client";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";

export type BulkAction = BulkRequest["action"];
export type BulkTarget = { ids: string[] } | { filter: BulkFilter };

const TEXTS = {
  rerun: {
    title: "Rerun executions",
    counted: "Executions to run again: {{number}}",
    button: "Rerun {{number}}",
    color: undefined,
  },
  cancel: {
    title: "Cancel executions",
    counted: "Executions to cancel: {{number}}",
    button: "Cancel {{number}}",
    color: "orange",
  },
  delete: {
    title: "Delete executions",
    counted: "Executions to delete, which cannot be undone: {{number}}",
    button: "Delete {{number}}",
    color: "red",
  },
} as const;

interface Props {
  action: BulkAction;
  /** One operation starts for each of them. */
  targets: readonly BulkTarget[];
  /** Another choice: all executions that the filter of the page matches. */
  matching?: BulkFilter;
  onClose: () => void;
  onStarted: (bulkIds: string[]) => void;
}

/** Shows to how many executions an action applies, and then starts it. */
export default function BulkDialog({ action, targets, matching, onClose, onStarted }: Props) {
  const { t, i18n } = useTranslation();
  const [key] = useState(() => crypto.getRandomValues(new Uint32Array(4)).join("-"));
  const [isMatching, setMatching] = useState(false);
  const [definition, setDefinition] = useState<"original" | "current">("current");
  const [includeRerun, setIncludeRerun] = useState(false);
  const [error, setError] = useState<unknown>();
  const [isStarting, setStarting] = useState(false);
  const text = TEXTS[action];
  const isRerun = action === "rerun";
  const chosen: readonly BulkTarget[] = isMatching && matching ? [{ filter: matching }] : targets;
  const hasFilter = chosen.some((target) => "filter" in target);
  const requests = chosen.map(
    (target): BulkRequest => ({
      action,
      ...("filter" in target
        ? { filter: { ...target.filter, ...(isRerun && includeRerun ? { includeRerun } : {}) } }
        : target),
      ...(isRerun ? { definition } : {}),
    }),
  );
  // The definition does not change the number of executions.
  const counted = requests.map((request) => ({ ...request, definition: undefined }));
  const count = useQuery({
    queryKey: ["bulk-count", counted],
    queryFn: async ({ signal }) => {
      const counts = await Promise.all(
        counted.map((request) => client.countBulk(request, { signal })),
      );
      return counts.reduce((sum, each) => sum + each, 0);
    },
    staleTime: 0,
    gcTime: 0,
  });
  const number = (count.data ?? 0).toLocaleString(i18n.language);

  const start = async () => {
    setStarting(true);
    setError(undefined);
    try {
      const ids: string[] = [];
      for (const [index, request] of requests.entries()) {
        // The same key for the same request, so that a second try starts nothing twice.
        const idempotencyKey = [key, index, definition, includeRerun, isMatching].join("-");
        ids.push((await client.startBulk(request, { idempotencyKey })).bulkId);
      }
      onStarted(ids);
    } catch (thrown) {
      setError(thrown);
      setStarting(false);
    }
  };
  return (
    <Modal
      opened
      onClose={onClose}
      title={t(text.title)}
      closeButtonProps={{ "aria-label": t("Close") }}
    >
      <Stack gap="sm">
        {matching && (
          <Radio.Group
            label={t("Executions")}
            size="xs"
            value={isMatching ? "matching" : "selected"}
            onChange={(value) => setMatching(value === "matching")}
          >
            <Stack gap={6} mt={6}>
              <Radio size="xs" value="selected" label={t("the selected ones")} />
              <Radio size="xs" value="matching" label={t("all that match the filters")} />
            </Stack>
          </Radio.Group>
        )}
        {isRerun && (
          <Radio.Group
            label={t("Definition")}
            size="xs"
            value={definition}
            onChange={(value) => setDefinition(value as "original" | "current")}
          >
            <Stack gap={6} mt={6}>
              <Radio size="xs" value="current" label={t("the current one, after a correction")} />
              <Radio size="xs" value="original" label={t("the one of each execution")} />
            </Stack>
          </Radio.Group>
        )}
        {isRerun && hasFilter && (
          <Checkbox
            size="xs"
            label={t("Also executions that were run again before")}
            checked={includeRerun}
            onChange={(event) => setIncludeRerun(event.currentTarget.checked)}
          />
        )}
        {count.error ? (
          <ErrorAlert error={count.error} retry={() => void count.refetch()} />
        ) : count.isFetching ? (
          <Skeleton height={22} width="70%" />
        ) : (
          <Text fw={600} role="status">
            {t(text.counted, { number })}
          </Text>
        )}
        <ErrorAlert error={error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t("Close")}
          </Button>
          <Button
            data-autofocus
            color={text.color}
            loading={isStarting}
            disabled={count.isFetching || !count.data}
            onClick={() => void start()}
          >
            {t(text.button, { number })}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
