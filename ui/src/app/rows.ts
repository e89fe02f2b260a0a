import { useHotkeys } from "@mantine/hooks";

const CHECKED_TYPES = ["checkbox", "radio"];

/** Handles keys, also while a checkbox has the focus, but not while the user types. */
export function useListKeys(keys: Record<string, () => void>): void {
  useHotkeys(
    Object.entries(keys).map(([key, handle]) => [
      key,
      (event) => {
        const { target } = event;
        const isTyping = target instanceof HTMLInputElement && !CHECKED_TYPES.includes(target.type);
        if (isTyping) return;
        event.preventDefault();
        handle();
      },
      { preventDefault: false },
    ]),
    ["TEXTAREA", "SELECT"],
  );
}

/** Moves the focus between the elements with `data-row`: `j` to the next, `k` to the previous one. */
export function useRowKeys(): void {
  const move = (step: number) => {
    const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
    const current = rows.findIndex((row) => row.contains(document.activeElement));
    rows[Math.max(0, Math.min(rows.length - 1, current + step))]?.focus();
  };
  useListKeys({ j: () => move(1), k: () => move(-1) });
}
