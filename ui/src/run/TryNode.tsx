import { Button, Group, JsonInput, Stack, Text } from "@mantine/core";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { isTruncated, type NodeExecuteResponse } from "workflow-orchestration-client";
import { client } from "../app/client";
import { formatSize } from "../app/format";
import { ErrorAlert } from "../components/Feedback";
import { Payload } from "./Payload";

interface Props {
  workflowId: string;
  nodeId: string;
  nodeType: string;
  config: unknown;
  /** The input of the node run, or its start. */
  input: unknown;
  readInput: () => Promise<unknown>;
}

/** Runs one node with an edited input, without an execution. */
export function TryNode({ workflowId, nodeId, nodeType, config, input, readInput }: Props) {
  const { t } = useTranslation();
  const [text, setText] = useState(() =>
    isTruncated(input) ? "" : JSON.stringify(input ?? null, null, 2),
  );
  const [result, setResult] = useState<NodeExecuteResponse>();
  const [error, setError] = useState<unknown>();
  const [isRunning, setRunning] = useState(false);
  const run = async () => {
    setRunning(true);
    setError(undefined);
    try {
      const isUnchanged = isTruncated(input) && text.trim() === "";
      const inputData: unknown = isUnchanged ? await readInput() : JSON.parse(text);
      setResult(
        await client.executeNode({
          workflowId,
          nodeId,
          nodeType,
          node: { config: config ?? {} },
          inputData,
        }),
      );
    } catch (thrown) {
      setError(thrown);
    } finally {
      setRunning(false);
    }
  };
  return (
    <Stack gap="xs">
      <JsonInput
        size="xs"
        label={t("Input")}
        description={
          isTruncated(input)
            ? t("Without a text, the node runs with its input of {{size}}", {
                size: formatSize(input.size),
              })
            : undefined
        }
        autosize
        minRows={3}
        maxRows={12}
        value={text}
        onChange={setText}
      />
      <Group>
        <Button
          variant="light"
          leftSection={<IconPlayerPlay size={14} />}
          loading={isRunning}
          onClick={() => void run()}
        >
          {t("Run this node only")}
        </Button>
      </Group>
      <ErrorAlert error={error} />
      {result && !result.success && (
        <Text size="sm" c="var(--mantine-color-red-text)">
          {result.error}
        </Text>
      )}
      {result?.success && (
        <Payload
          value={(result.output as { outputData?: unknown } | null | undefined)?.outputData}
          name={nodeId}
        />
      )}
    </Stack>
  );
}
