import { useMemo } from "react";
import type { ListSearch } from "./router";

const HOUR_MS = 3_600_000;
/** Periods until now, by their names in the address. */
export const PERIODS: Record<string, number> = {
  "1h": HOUR_MS,
  "24h": 24 * HOUR_MS,
  "7d": 7 * 24 * HOUR_MS,
  "30d": 30 * 24 * HOUR_MS,
};

const toTime = (text: string | undefined): string | undefined => {
  const at = new Date(text ?? "");
  return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
};

/** Returns the filter of a list; the same object until the address changes. */
export function useTimes({ from, to }: ListSearch): { createdFrom?: string; createdTo?: string } {
  return useMemo(() => {
    const period = PERIODS[from ?? ""];
    return period === undefined
      ? { createdFrom: toTime(from), createdTo: toTime(to) }
      : { createdFrom: new Date(Date.now() - period).toISOString() };
  }, [from, to]);
}
