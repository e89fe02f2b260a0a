import { Alert, Button, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { ServiceError } from "workflow-orchestration-client";

/** Shows what happened, and offers a retry. */
export function ErrorAlert({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useTranslation();
  if (!error) return null;
  const { detail, problems, status } = ServiceError.from(error);
  return (
    <Alert
      color="red"
      icon={<IconAlertTriangle size={18} />}
      role="alert"
      title={status === 0 ? t("The service does not respond") : undefined}
    >
      <Stack gap={6} align="flex-start">
        <Text size="sm">{detail}</Text>
        {problems.slice(0, 20).map((problem) => (
          <Text key={`${problem.pointer}${problem.detail}`} size="sm" c="dimmed">
            {problem.detail}
          </Text>
        ))}
        {retry && (
          <Button variant="light" color="red" onClick={retry}>
            {t("Try again")}
          </Button>
        )}
      </Stack>
    </Alert>
  );
}

/** Says what to do where there is nothing to show. */
export function Empty({
  icon,
  title,
  children,
}: {
  icon: ReactNode;
  title: string;
  children?: ReactNode;
}) {
  return (
    <Stack align="center" gap={8} py={56} className="empty">
      {icon}
      <Text fw={600}>{title}</Text>
      {children}
    </Stack>
  );
}
