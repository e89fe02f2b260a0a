import { Autocomplete } from "@mantine/core";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";

interface Props {
  value: string | undefined;
  /** Proposed organizations; others can be entered. */
  known: readonly string[];
  onChange: (organizationId: string | undefined) => void;
}

/** Filters by an organization, at Enter or when the field loses the focus. */
export function OrganizationFilter({ value = "", known, onChange }: Props) {
  const { t } = useTranslation();
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const submit = (wanted: string) => {
    if (wanted.trim() !== value) onChange(wanted.trim() || undefined);
  };
  return (
    <Autocomplete
      size="xs"
      w={170}
      clearable
      placeholder={t("All organizations")}
      aria-label={t("Organization")}
      data={[...known]}
      limit={100}
      value={text}
      onChange={setText}
      onOptionSubmit={submit}
      onClear={() => submit("")}
      onBlur={() => submit(text)}
      onKeyDown={(event) => {
        if (event.key === "Enter") submit(text);
      }}
      clearButtonProps={{ "aria-label": t("Clear") }}
    />
  );
}
