import { Alert, Stack, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { DocumentProblem } from "workflow-orchestration-client";

/** The reasons why a document cannot run. */
export function Problems({ problems }: { problems: readonly DocumentProblem[] | undefined }) {
  const { t } = useTranslation();
  if (!problems || problems.length === 0) return null;
  return (
    <Alert
      color="red"
      icon={<IconAlertTriangle size={18} />}
      title={t("{{count}} problems", { count: problems.length })}
    >
      <Stack gap={4}>
        {problems.slice(0, 50).map((problem) => (
          <Text size="sm" key={`${problem.pointer}${problem.detail}`}>
            {problem.detail}{" "}
            <Text span size="xs" ff="monospace" c="dimmed">
              {problem.pointer}
            </Text>
          </Text>
        ))}
      </Stack>
    </Alert>
  );
}
