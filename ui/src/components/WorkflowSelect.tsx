import { Select } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { workflowsQuery } from "workflow-orchestration-client/query";
import { client } from "../app/client";

interface Props {
  value: string | undefined;
  onChange: (workflowId: string | undefined) => void;
}

/** Filters by a saved workflow. */
export function WorkflowSelect({ value, onChange }: Props) {
  const { t } = useTranslation();
  const { data } = useInfiniteQuery(workflowsQuery(client));
  const workflows = data?.pages.flatMap((page) => page.workflows) ?? [];
  return (
    <Select
      size="xs"
      w={200}
      clearable
      searchable
      limit={100}
      placeholder={t("All workflows")}
      aria-label={t("Workflow")}
      data={workflows.map(({ id, name }) => ({ value: id, label: name }))}
      value={value ?? null}
      onChange={(workflow) => onChange(workflow ?? undefined)}
      clearButtonProps={{ "aria-label": t("Clear") }}
    />
  );
}
