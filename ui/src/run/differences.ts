export interface Difference {
  path: string;
  before: string;
  after: string;
}

const MAX_DIFFERENCES = 100;
const MAX_CHARACTERS = 200;
const isObject = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object";
const shown = (value: unknown): string =>
  value === undefined ? "–" : (JSON.stringify(value) ?? "–").slice(0, MAX_CHARACTERS);

/** Returns the paths at which two JSON values differ. */
export function differences(before: unknown, after: unknown): Difference[] {
  const found: Difference[] = [];
  const visit = (a: unknown, b: unknown, path: string): void => {
    if (found.length >= MAX_DIFFERENCES || Object.is(a, b)) return;
    if (isObject(a) && isObject(b) && Array.isArray(a) === Array.isArray(b)) {
      for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
        const step = Array.isArray(b) ? `[${name}]` : path === "" ? name : `.${name}`;
        visit(
          Object.hasOwn(a, name) ? a[name] : undefined,
          Object.hasOwn(b, name) ? b[name] : undefined,
          path + step,
        );
      }
      return;
    }
    found.push({ path, before: shown(a), after: shown(b) });
  };
  visit(before, after, "");
  return found;
}
