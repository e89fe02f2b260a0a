import { TextInput } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";

interface Props {
  label: string;
  value: string;
  onText: (text: string) => void;
}

/** The search of a page, which `/` focuses. */
export function SearchBox({ label, value, onText }: Props) {
  return (
    <TextInput
      data-search
      size="xs"
      w={220}
      leftSection={<IconSearch size={14} />}
      placeholder={label}
      aria-label={label}
      value={value}
      onChange={(event) => onText(event.currentTarget.value)}
    />
  );
}
