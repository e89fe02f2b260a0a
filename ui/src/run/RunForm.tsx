import "./run.css";
import { Button, Group, JsonInput, Stack, TextInput } from "@mantine/core";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ExecuteRequest } from "workflow-orchestration-client";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { inputsOf, parseObject } from "./inputs";

interface Props {
  document: WorkflowDocument | undefined;
  target: { workflowId: string } | { graph: WorkflowDocument; workflowName?: string };
  isDisabled?: boolean;
}

const asText = (value: unknown): string =>
  value === undefined || value === null
    ? ""
    : typeof value === "string"
      ? value
      : JSON.stringify(value);

/** Returns the JSON value that a text is, otherwise the text. */
function asValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A form for the inputs of a workflow: one field for each `manualInput`, and the payload of the trigger. */
export function RunForm({ document, target, isDisabled }: Props) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { fields, entry } = inputsOf(document);
  const [values, setValues] = useState<Record<string, string>>({});
  const [payload, setPayload] = useState("");
  const [error, setError] = useState<unknown>();
  const [isStarting, setStarting] = useState(false);
  const parsed = parseObject(payload);

  const start = async () => {
    setStarting(true);
    setError(undefined);
    try {
      const inputs: Record<string, unknown> = {};
      for (const [nodeId, text] of Object.entries(values)) inputs[nodeId] = asValue(text);
      if (entry !== null && payload.trim() !== "") inputs[entry] = parsed.value;
      const { executionId } = await client.execute({ ...target, inputs } as ExecuteRequest, {
        idempotencyKey: crypto.getRandomValues(new Uint32Array(4)).join("-"),
      });
      await navigate({ to: "/executions/$executionId", params: { executionId } });
    } catch (thrown) {
      setError(thrown);
      setStarting(false);
    }
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <Stack gap="sm">
        {fields.map((field) => (
          <TextInput
            key={field.nodeId}
            size="xs"
            label={field.label}
            description={field.name === field.label ? undefined : field.name}
            placeholder={asText(field.initial)}
            value={values[field.nodeId] ?? ""}
            onChange={(event) => {
              const { value } = event.currentTarget;
              setValues((before) => {
                const { [field.nodeId]: _old, ...rest } = before;
                return value === "" ? rest : { ...rest, [field.nodeId]: value };
              });
            }}
          />
        ))}
        {entry !== null && (
          <JsonInput
            size="xs"
            label={t("Payload of the start")}
            placeholder='{"name": "Ada"}'
            autosize
            minRows={3}
            maxRows={12}
            value={payload}
            onChange={setPayload}
            error={parsed.error ? t(parsed.error) : undefined}
          />
        )}
        <ErrorAlert error={error} />
        <Group>
          <Button
            type="submit"
            leftSection={<IconPlayerPlay size={14} />}
            loading={isStarting}
            disabled={isDisabled || parsed.error !== undefined}
          >
            {t("Run")}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
