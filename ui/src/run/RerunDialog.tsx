import { Button, Group, JsonInput, Modal, Skeleton, Stack, Text } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { parseObject, pastInputs } from "./inputs";

interface Props {
  executionId: string;
  document: WorkflowDocument | undefined;
  opened: boolean;
  onClose: () => void;
  /** The first node that runs again. */
  from?: { nodeId: string; label: string };
}

/** Runs an execution again, with changed inputs, and opens the new one. */
export function RerunDialog({ executionId, document, opened, onClose, from }: Props) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [before, setBefore] = useState<string>();
  const [text, setText] = useState("");
  const [omitted, setOmitted] = useState<string[]>([]);
  const [error, setError] = useState<unknown>();
  const [isStarting, setStarting] = useState(false);

  useEffect(() => {
    if (!opened) return;
    let isCurrent = true;
    setError(undefined);
    pastInputs(executionId, document).then(
      ({ inputs, omitted: large }) => {
        const shown = JSON.stringify(inputs, null, 2);
        if (isCurrent) {
          setOmitted(large);
          setBefore(shown);
          setText(shown);
        }
      },
      () => {
        if (isCurrent) {
          setOmitted([]);
          setBefore("{}");
          setText("{}");
        }
      },
    );
    return () => {
      isCurrent = false;
    };
  }, [opened, executionId, document]);

  const parsed = parseObject(text);
  const start = async () => {
    setStarting(true);
    setError(undefined);
    try {
      const isChanged = text !== before;
      const kept = isChanged ? await pastInputs(executionId, document, omitted) : undefined;
      const { executionId: id } = await client.rerun(executionId, {
        fromNodeId: from?.nodeId,
        inputs: isChanged ? { ...kept?.inputs, ...parsed.value } : undefined,
      });
      onClose();
      await navigate({
        to: "/executions/$executionId",
        params: { executionId: id },
        search: { node: from?.nodeId },
      });
    } catch (thrown) {
      setError(thrown);
    } finally {
      setStarting(false);
    }
  };
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      size="lg"
      title={
        from ? t("Rerun from “{{node}}”", { node: from.label }) : t("Rerun with changed inputs")
      }
      closeButtonProps={{ "aria-label": t("Close") }}
    >
      <Stack gap="sm">
        <Text size="sm" c="dimmed">
          {t("Results that do not depend on the change are reused. Inputs are by node id.")}
        </Text>
        {before === undefined ? (
          <Skeleton height={120} />
        ) : (
          <JsonInput
            data-autofocus
            label={t("Inputs")}
            autosize
            minRows={6}
            maxRows={18}
            value={text}
            onChange={setText}
            error={parsed.error ? t(parsed.error) : undefined}
            formatOnBlur
          />
        )}
        {omitted.length > 0 && (
          <Text size="sm" c="dimmed">
            {t("Too large to be shown, and kept: {{names}}", {
              names: omitted.join(", "),
            })}
          </Text>
        )}
        <ErrorAlert error={error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t("Close")}
          </Button>
          <Button
            onClick={() => void start()}
            loading={isStarting}
            disabled={before === undefined || parsed.error !== undefined}
          >
            {t("Rerun")}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
