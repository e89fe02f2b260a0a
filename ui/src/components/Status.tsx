import { Badge, type MantineColor } from "@mantine/core";
import {
  type Icon,
  IconCheck,
  IconCircleDashed,
  IconClock,
  IconLoader2,
  IconMinus,
  IconPlayerPause,
  IconPlayerStop,
  IconX,
} from "@tabler/icons-react";
import { useTranslation } from "react-i18next";

interface Look {
  color: MantineColor;
  icon: Icon;
  label: string;
}

const RUNNING: Look = { color: "blue", icon: IconLoader2, label: "running" };
const COMPLETED: Look = { color: "green", icon: IconCheck, label: "completed" };
const FAILED: Look = { color: "red", icon: IconX, label: "failed" };

/** One color and one icon per status, of executions and of nodes. */
const LOOKS: Record<string, Look> = {
  pending: { color: "gray", icon: IconClock, label: "pending" },
  running: RUNNING,
  loading: RUNNING,
  waiting: { color: "violet", icon: IconPlayerPause, label: "waiting" },
  completed: COMPLETED,
  success: COMPLETED,
  failed: FAILED,
  error: FAILED,
  cancelled: { color: "orange", icon: IconPlayerStop, label: "cancelled" },
  skipped: { color: "gray", icon: IconMinus, label: "skipped" },
  initial: { color: "gray", icon: IconCircleDashed, label: "not started" },
};

export const STATUSES = [
  "pending",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
] as const;

export function lookOf(status: string | null | undefined): Look {
  return (
    LOOKS[status ?? "initial"] ?? { color: "gray", icon: IconCircleDashed, label: status ?? "" }
  );
}

export function StatusIcon({
  status,
  size = 16,
}: {
  status: string | null | undefined;
  size?: number;
}) {
  const { t } = useTranslation();
  const { color, icon: Shape, label } = lookOf(status);
  return (
    <Shape
      size={size}
      stroke={2.2}
      role="img"
      aria-label={t(label)}
      className={label === "running" ? "spin" : undefined}
      style={{ color: `var(--mantine-color-${color}-text)`, flexShrink: 0 }}
    />
  );
}

export function StatusBadge({
  status,
  extra,
}: {
  status: string | null | undefined;
  extra?: string;
}) {
  const { t } = useTranslation();
  const { color, icon: Shape, label } = lookOf(status);
  return (
    <Badge
      color={color}
      tt="none"
      className="status-badge"
      leftSection={
        <Shape
          size={12}
          stroke={2.5}
          aria-hidden
          className={label === "running" ? "spin" : undefined}
        />
      }
    >
      {t(label)}
      {extra ? ` ${extra}` : ""}
    </Badge>
  );
}
