import "./run.css";
import { Button, Group, JsonInput, Stack } from "@mantine/core";
import { IconPlayerPlay } from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { type ExecuteRequest, ServiceError } from "workflow-orchestration-client";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { changedOf, type Draft, draftOf, placeProblems, pointerTo } from "../forms/fields";
import { FieldInput } from "../forms/SchemaForm";
import { inputsOf, parseObject } from "./inputs";

const INPUTS = "/inputs";

interface Props {
  document: WorkflowDocument | undefined;
  target: { workflowId: string } | { graph: WorkflowDocument; workflowName?: string };
  isDisabled?: boolean;
}

/** A form for the inputs of a workflow: one field for each `manualInput`, and the payload of the trigger. */
export function RunForm({ document, target, isDisabled }: Props) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { fields, entry } = inputsOf(document);
  const [drafts, setDrafts] = useState<Record<string, Draft>>({});
  const [payload, setPayload] = useState("");
  const [error, setError] = useState<ServiceError>();
  const [isStarting, setStarting] = useState(false);
  const parsed = parseObject(payload);
  const places = [...fields.map(({ nodeId }) => nodeId), ...(entry === null ? [] : [entry])];
  const problems = placeProblems(
    error?.problems ?? [],
    places.map((nodeId) => pointerTo(INPUTS, nodeId)),
  );
  const isPlaced = problems.size > 0 && !problems.has("");

  const start = async () => {
    setStarting(true);
    setError(undefined);
    try {
      const inputs: Record<string, unknown> = {};
      for (const { nodeId, field } of fields)
        if (nodeId in drafts) inputs[nodeId] = changedOf(field, drafts[nodeId]);
      if (entry !== null && payload.trim() !== "") inputs[entry] = parsed.value;
      const { executionId } = await client.execute({ ...target, inputs } as ExecuteRequest, {
        idempotencyKey: crypto.getRandomValues(new Uint32Array(4)).join("-"),
      });
      await navigate({ to: "/executions/$executionId", params: { executionId } });
    } catch (thrown) {
      setError(ServiceError.from(thrown));
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
        {fields.map(({ nodeId, field }) => (
          <FieldInput
            key={nodeId}
            field={field}
            draft={nodeId in drafts ? drafts[nodeId] : draftOf(field)}
            onChange={(draft) => setDrafts((before) => ({ ...before, [nodeId]: draft }))}
            pointer={pointerTo(INPUTS, nodeId)}
            problems={problems}
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
            error={parsed.error ? t(parsed.error) : problems.get(pointerTo(INPUTS, entry))}
          />
        )}
        <ErrorAlert error={isPlaced ? undefined : error} />
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
