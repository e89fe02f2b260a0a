// The part of the graph that is in sight.
import { useReducedMotion } from "@mantine/hooks";
import type { Node, ReactFlowInstance } from "@xyflow/react";
import { useEffect, useMemo, useRef } from "react";
import type { CardData } from "./cards";
import type { Frames } from "./frames";
import { NODE_HEIGHT, NODE_WIDTH } from "./layout";

export const FIT = { maxZoom: 1.1, padding: 0.12 };
/** Below this zoom the texts of the cards are too small. */
const MIN_READABLE_ZOOM = 0.55;

/** Fits the graph after it has another size, and keeps the selected node in sight. */
export function useSight(frames: Frames, selected: string | undefined) {
  const area = useRef<HTMLDivElement>(null);
  const flow = useRef<ReactFlowInstance<Node<CardData>>>(null);
  const last = useRef<Frames>(undefined);
  const duration = useReducedMotion() ? 0 : 150;
  const sizes = useMemo(
    () => frames.nodes.map(({ kind, width, height }) => `${kind}${width}x${height}`).join(),
    [frames],
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: another item has the same positions
  useEffect(() => {
    const before = last.current;
    last.current = frames;
    if (!before || !area.current || !flow.current) return;
    const known = new Set(before.nodes.map(({ place, kind }) => `${kind}${place}`));
    const opened = frames.nodes.find(
      ({ place, kind, depth }) =>
        kind !== "card" &&
        !known.has(`${kind}${place}`) &&
        (depth === 0 || known.has(`card${place}`)),
    );
    const right = Math.max(...frames.nodes.map(({ x, width }) => x + width));
    const left = Math.min(...frames.nodes.map(({ x }) => x));
    const isReadable = area.current.clientWidth / (right - left) > MIN_READABLE_ZOOM;
    const nodes = isReadable || !opened ? undefined : [{ id: opened.place }];
    void flow.current.fitView({ ...FIT, nodes, duration });
  }, [sizes]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when another node is selected
  useEffect(() => {
    const placed = frames.nodes.find(({ place }) => place === selected);
    if (!placed) return;
    // The panel of the node makes the graph smaller in the meantime.
    const handle = requestAnimationFrame(() => {
      if (!area.current || !flow.current) return;
      const { x, y, zoom } = flow.current.getViewport();
      const [left, top] = [placed.x * zoom + x, placed.y * zoom + y];
      const isInSight =
        left >= 0 &&
        top >= 0 &&
        left + Math.min(placed.width, NODE_WIDTH) * zoom <= area.current.clientWidth &&
        top + Math.min(placed.height, NODE_HEIGHT) * zoom <= area.current.clientHeight;
      if (isInSight) return;
      const center = [placed.x + placed.width / 2, placed.y + placed.height / 2] as const;
      void flow.current.setCenter(...center, { zoom, duration });
    });
    return () => cancelAnimationFrame(handle);
  }, [selected]);
  return { area, flow };
}
