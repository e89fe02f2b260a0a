import { ActionIcon, Button, Group, Popover, Text, TextInput } from "@mantine/core";
import { IconChevronDown, IconChevronLeft, IconChevronRight } from "@tabler/icons-react";
import { type KeyboardEvent, useId, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { VList, type VListHandle } from "virtua";
import { lookOf, StatusIcon } from "../components/Status";

export interface PickedRun {
  value: string;
  label: string;
  status: string | null;
}

interface Props {
  /** In their order; the menu lists those that failed first. */
  runs: readonly PickedRun[];
  value: string | undefined;
  onChange: (value: string | undefined) => void;
  /** The text of the choice of all runs, if that is possible. */
  allLabel?: string;
  label: string;
}

const ROW_HEIGHT = 30;
const MAX_ROWS = 8;
const URGENT = ["error", "waiting", "running", "cancelled"];
const urgencyOf = ({ status }: PickedRun): number => {
  const at = URGENT.indexOf(status ?? "");
  return at === -1 ? URGENT.length : at;
};

/** Chooses one of up to thousands of runs: those that failed come first. */
export function RunPicker({ runs, value, onChange, allLabel, label }: Props) {
  const { t } = useTranslation();
  const [isOpen, setOpen] = useState(false);
  const at = runs.findIndex((run) => run.value === value);
  const current = runs[at];
  const step = (by: number) => {
    const next = runs[at === -1 ? (by > 0 ? 0 : runs.length - 1) : at + by];
    if (next) onChange(next.value);
  };
  return (
    <Group gap={2} wrap="nowrap" className="run-picker">
      <ActionIcon
        variant="subtle"
        color="gray"
        size="sm"
        disabled={at === 0 || runs.length === 0}
        onClick={() => step(-1)}
        aria-label={t("Previous item")}
      >
        <IconChevronLeft size={14} />
      </ActionIcon>
      <Popover
        opened={isOpen}
        onChange={setOpen}
        position="bottom-start"
        trapFocus
        returnFocus
        withinPortal
        shadow="md"
      >
        <Popover.Target>
          <Button
            size="compact-xs"
            variant="default"
            fw={500}
            leftSection={current && <StatusIcon status={current.status} size={12} />}
            rightSection={<IconChevronDown size={12} />}
            aria-label={`${label}: ${current?.label ?? allLabel ?? ""}`}
            onClick={() => setOpen(!isOpen)}
          >
            {current?.label ?? allLabel ?? label}
          </Button>
        </Popover.Target>
        <Popover.Dropdown p={6} className="nowheel nodrag nopan">
          <Menu
            {...{ runs, value, allLabel, label }}
            onChoose={(chosen) => {
              setOpen(false);
              onChange(chosen);
            }}
          />
        </Popover.Dropdown>
      </Popover>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="sm"
        disabled={at === runs.length - 1}
        onClick={() => step(1)}
        aria-label={t("Next item")}
      >
        <IconChevronRight size={14} />
      </ActionIcon>
    </Group>
  );
}

function Menu({
  runs,
  value,
  allLabel,
  label,
  onChoose,
}: Omit<Props, "onChange"> & { onChoose: (value: string | undefined) => void }) {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const id = useId();
  const list = useRef<VListHandle>(null);
  const rows = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const found = runs.filter(
      (run) =>
        run.label.toLowerCase().includes(wanted) ||
        t(lookOf(run.status).label).toLowerCase().startsWith(wanted),
    );
    // The sort keeps the order of runs that are equally urgent.
    const sorted: (PickedRun | null)[] = found.sort((a, b) => urgencyOf(a) - urgencyOf(b));
    return allLabel && wanted === "" ? [null, ...sorted] : sorted;
  }, [runs, text, allLabel, t]);
  const [active, setActive] = useState(() =>
    Math.max(
      0,
      rows.findIndex((row) => row?.value === value),
    ),
  );
  const shown = Math.min(active, rows.length - 1);
  const move = (to: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, to));
    setActive(next);
    list.current?.scrollToIndex(next, { align: "nearest" });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const steps: Record<string, number> = {
      ...{ ArrowDown: 1, ArrowUp: -1, PageDown: MAX_ROWS, PageUp: -MAX_ROWS },
    };
    const by = steps[event.key];
    if (by !== undefined) move(shown + by);
    else if (event.key === "Enter" && rows.length > 0) onChoose(rows[shown]?.value);
    else return;
    event.preventDefault();
  };
  return (
    <>
      <TextInput
        size="xs"
        mb={4}
        data-autofocus
        role="combobox"
        aria-expanded
        aria-controls={id}
        aria-activedescendant={rows.length > 0 ? `${id}-${shown}` : undefined}
        aria-label={label}
        placeholder={t("Number or status")}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={onKeyDown}
      />
      <div role="listbox" id={id} aria-label={label} className="run-options">
        <VList
          ref={list}
          style={{ height: Math.max(1, Math.min(MAX_ROWS, rows.length)) * ROW_HEIGHT }}
        >
          {rows.map((row, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox handles the keys
            <div
              key={row?.value ?? "all"}
              role="option"
              tabIndex={-1}
              id={`${id}-${index}`}
              aria-selected={row?.value === value}
              aria-setsize={rows.length}
              aria-posinset={index + 1}
              className="run-option"
              data-active={index === shown || undefined}
              onClick={() => onChoose(row?.value)}
            >
              {row && <StatusIcon status={row.status} size={14} />}
              <Text span size="sm" truncate>
                {row?.label ?? allLabel}
              </Text>
            </div>
          ))}
        </VList>
      </div>
      {rows.length === 0 && (
        <Text size="xs" c="dimmed" px={6} pb={4}>
          {t("Nothing found")}
        </Text>
      )}
    </>
  );
}
