// The part of an execution that the page shows, which its address contains.
import { useMemo } from "react";
import type { RunSearch } from "../app/router";
import type { ChildRuns } from "./children";
import type { Definition } from "./definition";
import type { Placed } from "./frames";
import type { Selected } from "./Graph";
import { loopsAround, parseRunId } from "./loops";
import { type Openings, placeOf, toggled } from "./openings";
import { partsOf } from "./parts";

const ITEM = /^(.*)\[(\d+)\]$/s;
const listOf = (values: Iterable<string>): string[] | undefined => {
  const list = [...values];
  return list.length > 0 ? list : undefined;
};

/** The children that the address names. */
export function childIdsOf({ open = [], child }: RunSearch): string[] {
  return [...new Set(child === undefined ? open : [...open, child])];
}

export interface RunView {
  openings: Openings;
  selected: Selected | undefined;
  select: (selected: Selected | undefined) => void;
  /** Opens or closes a loop, or a child. */
  toggle: (placed: Placed, childId?: string) => void;
  toggleChild: (childId: string) => void;
  show: (placed: Placed, item: number | undefined) => void;
}

/** Returns what is open and selected, and changes it in the address. */
export function useRunView(
  executionId: string,
  search: RunSearch,
  set: (change: RunSearch) => void,
  definition: Definition | null | undefined,
  children: ChildRuns,
): RunView {
  const { open, closed, item, node, child } = search;
  const key = JSON.stringify([closed ?? [], open ?? [], item ?? []]);
  const openings = useMemo((): Openings => {
    const [loops, childIds, shown] = JSON.parse(key) as [string[], string[], string[]];
    const items = new Map<string, number>();
    for (const entry of shown) {
      const [, place, index] = ITEM.exec(entry) ?? [];
      if (place !== undefined) items.set(place, Number(index));
    }
    return { closed: new Set(loops), opened: new Set(childIds), items };
  }, [key]);
  const selected =
    node === undefined ? undefined : { executionId: child ?? executionId, runId: node };

  const entriesOf = (items: ReadonlyMap<string, number>) =>
    listOf([...items].map(([place, index]) => `${place}[${index}]`));
  const selection = (wanted: Selected | undefined): RunSearch => ({
    node: wanted?.runId,
    child: wanted && wanted.executionId !== executionId ? wanted.executionId : undefined,
  });

  const select = (wanted: Selected | undefined) => {
    if (!wanted) return set(selection(undefined));
    const document =
      wanted.executionId === executionId
        ? definition?.data
        : children.get(wanted.executionId)?.definition?.data;
    const { nodeId, path } = parseRunId(wanted.runId);
    const items = new Map(openings.items);
    if (document && path !== "") {
      let around = "";
      const indices = path.match(/\d+/g) ?? [];
      loopsAround(partsOf(document).loops, nodeId).forEach((loop, depth) => {
        const index = indices[depth];
        if (index === undefined) return;
        items.set(placeOf(executionId, wanted.executionId, loop + around), Number(index));
        around += `[${index}]`;
      });
    }
    set({ ...selection(wanted), item: entriesOf(items) });
  };
  const toggleChild = (childId: string) => {
    const next = listOf(toggled(openings.opened, childId));
    const isHidden = child === childId && openings.opened.has(childId);
    set({ open: next, ...(isHidden ? selection(undefined) : {}) });
  };
  const toggle = (placed: Placed, childId?: string) => {
    if (placed.body) set({ closed: listOf(toggled(openings.closed, placed.place)) });
    else if (childId !== undefined) toggleChild(childId);
  };
  const show = (placed: Placed, index: number | undefined) => {
    const items = new Map(openings.items);
    if (index === undefined) items.delete(placed.place);
    else items.set(placed.place, index);
    const change: RunSearch = { item: entriesOf(items) };
    // The selected node remains selected, in the new item.
    if (selected?.executionId === placed.executionId) {
      const run = parseRunId(selected.runId);
      if (placed.body?.has(run.nodeId)) {
        const path = index === undefined ? placed.path : `${placed.path}[${index}]`;
        change.node = run.nodeId + path;
      }
    }
    set(change);
  };
  return { openings, selected, select, toggle, toggleChild, show };
}
