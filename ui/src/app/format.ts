import { useEffect, useState } from "react";

/** Returns a duration for people: `35 ms`, `1.2 s`, `3 min 4 s`, `2 h 5 min`, `3 d 2 h`. */
export function formatDuration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60)
    return `${seconds < 10 ? (Math.floor(seconds * 10) / 10).toFixed(1) : Math.floor(seconds)} s`;
  const units: [number, string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first]!;
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest > 0 && next ? ` ${rest} ${next[1]}` : ""}`;
}

/** Returns the time between two timestamps in milliseconds. Without an end, until now. */
export function between(
  start: string | null | undefined,
  end: string | null | undefined,
  now: number,
): number | null {
  if (!start) return null;
  const from = Date.parse(start);
  const to = end ? Date.parse(end) : now;
  return Number.isNaN(from) || Number.isNaN(to) ? null : Math.max(0, to - from);
}

export function formatAgo(time: string | null | undefined, now: number, language: string): string {
  const at = time ? Date.parse(time) : Number.NaN;
  if (Number.isNaN(at)) return "–";
  const seconds = Math.round((at - now) / 1000);
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const units: [Intl.RelativeTimeFormatUnit, number][] = [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
  ];
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return format.format(Math.round(seconds / size), unit);
  }
  return format.format(Math.min(0, seconds), "second");
}

export function formatTime(time: string | null | undefined, language: string): string {
  const at = time ? new Date(time) : null;
  if (!at || Number.isNaN(at.getTime())) return time ?? "–";
  return at.toLocaleString(language, { dateStyle: "medium", timeStyle: "medium" });
}

export function formatSize(characters: number): string {
  if (characters < 1024) return `${characters} B`;
  const kib = characters / 1024;
  return kib < 1024 ? `${kib.toFixed(kib < 10 ? 1 : 0)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** Returns the time, again after each interval while it is on. */
export function useNow(isOn: boolean, intervalMs = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isOn) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), intervalMs);
    return () => clearInterval(timer);
  }, [isOn, intervalMs]);
  return now;
}
