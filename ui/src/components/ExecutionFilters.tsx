import { Chip, Group, Select, TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { workflowsQuery } from "workflow-orchestration-client/query";
import { client } from "../app/client";
import type { ListSearch } from "../app/router";
import { lookOf, STATUSES } from "./Status";
import { TimeFilter } from "./TimeFilter";

interface Props {
  search: ListSearch;
  onChange: (change: Partial<ListSearch>) => void;
  /** Text that the loaded executions contain. */
  text: string;
  onText: (text: string) => void;
}

/** The filters of the list of executions, which are loaded after its rows. */
export default function ExecutionFilters({ search, onChange, text, onText }: Props) {
  const { t } = useTranslation();
  const { data } = useInfiniteQuery(workflowsQuery(client));
  const workflows = data?.pages.flatMap((page) => page.workflows) ?? [];
  return (
    <Group gap="xs">
      <TextInput
        data-search
        size="xs"
        w={220}
        leftSection={<IconSearch size={14} />}
        placeholder={t("Search loaded executions")}
        aria-label={t("Search loaded executions")}
        value={text}
        onChange={(event) => onText(event.currentTarget.value)}
      />
      <Select
        size="xs"
        w={200}
        clearable
        searchable
        limit={100}
        placeholder={t("All workflows")}
        aria-label={t("Workflow")}
        data={workflows.map(({ id, name }) => ({ value: id, label: name }))}
        value={search.workflow ?? null}
        onChange={(workflow) => onChange({ workflow: workflow ?? undefined })}
        clearButtonProps={{ "aria-label": t("Clear") }}
      />
      <TimeFilter search={search} onChange={onChange} />
      <Chip.Group
        multiple
        value={search.status ?? []}
        onChange={(status) => onChange({ status: status.length > 0 ? status : undefined })}
      >
        <Group gap={4}>
          {STATUSES.map((status) => (
            <Chip
              key={status}
              value={status}
              size="xs"
              color={lookOf(status).color}
              variant="light"
            >
              {t(status)}
            </Chip>
          ))}
        </Group>
      </Chip.Group>
    </Group>
  );
}
