import "../run/run.css";
import "./tasks.css";
import { Alert, Button, Group, NativeSelect, Skeleton, Stack, Text, Textarea } from "@mantine/core";
import { IconCheck, IconInfoCircle, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { ServiceError, type Task } from "workflow-orchestration-client";
import { taskQuery } from "workflow-orchestration-client/query";
import { client, queryClient } from "../app/client";
import { formatTime } from "../app/format";
import { ErrorAlert } from "../components/Feedback";
import { type Draft, dataOf, draftOf, formOf, placeProblems, pointersOf } from "../forms/fields";
import { SchemaForm } from "../forms/SchemaForm";
import { Outcome } from "./Outcome";

const DATA = "/data";
const ASSIGNEE = "/assignee";

interface Props {
  taskId: string;
  /** The person who is expected to answer. */
  assignee?: string;
  onDone?: () => void;
  /** Whether the row of a list shows the question. */
  hideQuestion?: boolean;
}

/** A task: its question and form while it is open, otherwise who answered it and when. */
export function TaskAnswer({ taskId, ...props }: Props) {
  const task = useQuery(taskQuery(client, taskId));
  if (task.error) return <ErrorAlert error={task.error} retry={() => void task.refetch()} />;
  if (!task.data) return <Skeleton height={96} />;
  return <AnswerForm key={taskId} task={task.data} {...props} />;
}

function AnswerForm({
  task,
  assignee,
  onDone,
  hideQuestion,
}: Omit<Props, "taskId"> & { task: Task }) {
  const { t, i18n } = useTranslation();
  const form = useMemo(() => (task.form ? formOf(task.form) : undefined), [task.form]);
  const first = useMemo(() => (form ? draftOf(form) : undefined), [form]);
  const [draft, setDraft] = useState<Draft>(first);
  const [comment, setComment] = useState("");
  const waiting = task.assignees.filter((name) => !task.answers.some((a) => a.assignee === name));
  const [person, setPerson] = useState(
    waiting.find((name) => name === assignee) ?? (waiting.length === 1 ? waiting[0] : "") ?? "",
  );
  const [pending, setPending] = useState<boolean>();
  const [error, setError] = useState<ServiceError>();
  const element = useRef<HTMLFormElement>(null);

  const isInvalid = error?.status === 422;
  const pointers = form ? [...pointersOf(form, draft, DATA), ASSIGNEE] : [ASSIGNEE];
  const problems = placeProblems(isInvalid ? error.problems : [], pointers);
  const other = problems.get("") ?? (isInvalid && problems.size > 0 ? undefined : error);

  const answer = async (approved: boolean) => {
    setPending(approved);
    setError(undefined);
    // A rejection needs no data; without a change, the proposed values are not an answer.
    const isBlank = !approved && draft === first;
    const data = form
      ? isBlank
        ? undefined
        : (dataOf(form, draft) as Record<string, unknown>)
      : comment.trim()
        ? { comment: comment.trim() }
        : undefined;
    try {
      const after = await client.completeTask(task.id, {
        approved,
        data,
        assignee: person || undefined,
      });
      queryClient.setQueryData(taskQuery(client, task.id).queryKey, after);
      setPerson("");
      onDone?.();
    } catch (thrown) {
      const failure = ServiceError.from(thrown);
      setError(failure);
      if (failure.status === 409) {
        await queryClient.invalidateQueries({ queryKey: taskQuery(client, task.id).queryKey });
        onDone?.();
      }
      requestAnimationFrame(() =>
        element.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus(),
      );
    } finally {
      setPending(undefined);
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void answer(true);
  };

  const isOpen = task.status === "open";
  return (
    <Stack gap="xs" className="approval">
      {!hideQuestion && (
        <Text fw={600} className="question">
          {task.message || t("This node waits for an answer")}
        </Text>
      )}
      {error?.status === 409 && (
        <Alert
          color="orange"
          role="alert"
          icon={<IconInfoCircle size={18} />}
          title={t("Your answer was not recorded")}
        >
          {isOpen ? error.detail : t("The task has already ended.")}
        </Alert>
      )}
      <Outcome task={task} />
      {isOpen && (
        <form ref={element} noValidate onSubmit={submit} aria-label={t("Answer")}>
          <Stack gap="sm">
            {task.expiresAt && (
              <Text size="xs" c="dimmed">
                {t("Until {{time}}", { time: formatTime(task.expiresAt, i18n.language) })}
              </Text>
            )}
            {form ? (
              <SchemaForm
                field={form}
                draft={draft}
                onChange={setDraft}
                pointer={DATA}
                problems={problems}
              />
            ) : (
              <Textarea
                size="xs"
                autosize
                minRows={1}
                maxRows={4}
                label={t("Comment (optional)")}
                value={comment}
                onChange={(event) => setComment(event.currentTarget.value)}
              />
            )}
            {waiting.length > 0 && (
              <NativeSelect
                size="xs"
                label={t("Answer as")}
                required={task.required > 1}
                error={problems.get(ASSIGNEE)}
                data={[{ value: "", label: t("Choose…") }, ...waiting]}
                value={person}
                onChange={(event) => setPerson(event.currentTarget.value)}
              />
            )}
            {error?.status !== 409 && (
              <ErrorAlert
                error={typeof other === "string" ? new ServiceError(422, other) : other}
              />
            )}
            <Group gap="xs">
              <Button
                type="submit"
                leftSection={<IconCheck size={14} />}
                loading={pending === true}
                disabled={pending === false}
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
        </form>
      )}
    </Stack>
  );
}
