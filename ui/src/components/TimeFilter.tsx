import { Select, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { ListSearch } from "../app/router";
import { PERIODS } from "../app/times";

const CUSTOM = "custom";

/** Chooses the time in which the executions were created: a period until now, or two times. */
export function TimeFilter({
  search,
  onChange,
}: {
  search: ListSearch;
  onChange: (change: Partial<ListSearch>) => void;
}) {
  const { t } = useTranslation();
  const { from, to } = search;
  const isCustom = to !== undefined || (from !== undefined && !(from in PERIODS));
  return (
    <>
      <Select
        size="xs"
        w={150}
        clearable
        placeholder={t("Any time")}
        aria-label={t("Time")}
        data={[
          { value: "1h", label: t("Last hour") },
          { value: "24h", label: t("Last 24 hours") },
          { value: "7d", label: t("Last 7 days") },
          { value: "30d", label: t("Last 30 days") },
          { value: CUSTOM, label: t("From, to…") },
        ]}
        value={isCustom ? CUSTOM : (from ?? null)}
        onChange={(value) =>
          onChange({
            from: value === CUSTOM ? CUSTOM : (value ?? undefined),
            to: undefined,
          })
        }
        clearButtonProps={{ "aria-label": t("Clear") }}
      />
      {isCustom &&
        (["from", "to"] as const).map((name) => (
          <TextInput
            key={name}
            size="xs"
            type="datetime-local"
            aria-label={name === "from" ? t("From") : t("To")}
            value={search[name] === CUSTOM ? "" : (search[name] ?? "")}
            onChange={(event) => {
              const value = event.currentTarget.value || undefined;
              onChange({ [name]: value ?? (name === "from" ? CUSTOM : undefined) });
            }}
          />
        ))}
    </>
  );
}
