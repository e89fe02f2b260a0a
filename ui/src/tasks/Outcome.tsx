import { Badge, Group, Stack, Text } from "@mantine/core";
import { IconCheck, IconClock, IconHourglassOff, IconPlayerStop, IconX } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { Task, TaskSummary } from "workflow-orchestration-client";
import { formatTime } from "../app/format";

const LOOKS = {
  open: { color: "violet", icon: IconClock, label: "open" },
  approved: { color: "green", icon: IconCheck, label: "approved" },
  rejected: { color: "red", icon: IconX, label: "rejected" },
  expired: { color: "orange", icon: IconHourglassOff, label: "expired" },
  cancelled: { color: "gray", icon: IconPlayerStop, label: "cancelled" },
} as const;

/** The state of a task; of an answered one, its decision. */
export function TaskBadge({ task }: { task: TaskSummary }) {
  const { t } = useTranslation();
  const state =
    task.status === "completed" ? (task.approved === false ? "rejected" : "approved") : task.status;
  const { color, icon: Shape, label } = LOOKS[state];
  return (
    <Badge
      color={color}
      tt="none"
      className="status-badge"
      leftSection={<Shape size={12} stroke={2.5} aria-hidden />}
    >
      {t(label)}
    </Badge>
  );
}

/** Who answered a task, and when. */
export function Outcome({ task }: { task: Task }) {
  const { t, i18n } = useTranslation();
  const isOpen = task.status === "open";
  const time = (at: string) => formatTime(at, i18n.language);
  const notes = [
    task.remindedAt &&
      t("Reminders: {{number}}, the last one {{time}}", {
        number: task.reminders,
        time: time(task.remindedAt),
      }),
    task.escalatedAt && t("Further people since {{time}}", { time: time(task.escalatedAt) }),
    isOpen &&
      !task.escalatedAt &&
      task.escalatesAt &&
      t("Further people from {{time}}", { time: time(task.escalatesAt) }),
  ].filter((note) => typeof note === "string");
  if (isOpen && task.required === 1 && task.answers.length + notes.length === 0) return null;
  return (
    <Stack gap={4}>
      {task.required > 1 && (
        <Text size="sm" c="dimmed" className="number">
          {t("{{count}} of {{required}} approvals", {
            count: task.approvals,
            required: task.required,
          })}
        </Text>
      )}
      {notes.map((note) => (
        <Text size="xs" c="dimmed" key={note}>
          {note}
        </Text>
      ))}
      {!isOpen && (
        <Group gap={8}>
          <TaskBadge task={task} />
          <Text size="sm" c="dimmed">
            {formatTime(task.endedAt, i18n.language)}
          </Text>
        </Group>
      )}
      {task.answers.length > 0 && (
        <ul className="answers">
          {task.answers.map(({ assignee, approved, answeredAt }) => (
            <li key={`${assignee}${answeredAt}`}>
              <Text span fw={500}>
                {assignee ?? t("A person without a name")}
              </Text>{" "}
              {approved ? t("approved") : t("rejected")} · {formatTime(answeredAt, i18n.language)}
            </li>
          ))}
        </ul>
      )}
    </Stack>
  );
}
