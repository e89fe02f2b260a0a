/** Which loops are closed, which children are open, and which items are shown. */
export interface Openings {
  /** Places of loops. */
  closed: ReadonlySet<string>;
  /** Ids of child executions. */
  opened: ReadonlySet<string>;
  /** The shown item of a loop by the loop's place; without one, all items are combined. */
  items: ReadonlyMap<string, number>;
}

/** The key of a node run in the graph of an execution with its children. */
export const placeOf = (mainId: string, executionId: string, runId: string): string =>
  executionId === mainId ? runId : `${executionId}/${runId}`;

/** Returns a set with the value, or without it if it was in the set. */
export function toggled<Value>(set: ReadonlySet<Value>, value: Value): Set<Value> {
  const next = new Set(set);
  if (!next.delete(value)) next.add(value);
  return next;
}
