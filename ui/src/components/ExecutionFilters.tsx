import { Chip, Group } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ListSearch } from "../app/router";
import { OrganizationFilter } from "./OrganizationFilter";
import { SearchBox } from "./SearchBox";
import { lookOf, STATUSES } from "./Status";
import { TimeFilter } from "./TimeFilter";
import { WorkflowSelect } from "./WorkflowSelect";

interface Props {
  search: ListSearch;
  onChange: (change: Partial<ListSearch>) => void;
  /** Text that the loaded executions contain. */
  text: string;
  onText: (text: string) => void;
  /** Organizations of the loaded executions. */
  organizations: readonly string[];
}

/** The filters of the list of executions, which are loaded after its rows. */
export default function ExecutionFilters({ search, onChange, text, onText, organizations }: Props) {
  const { t } = useTranslation();
  return (
    <Group gap="xs">
      <SearchBox label={t("Search loaded executions")} value={text} onText={onText} />
      <WorkflowSelect value={search.workflow} onChange={(workflow) => onChange({ workflow })} />
      {(organizations.length > 0 || search.organization !== undefined) && (
        <OrganizationFilter
          value={search.organization}
          known={organizations}
          onChange={(organization) => onChange({ organization })}
        />
      )}
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
