import type { Edge, Node } from "@xyflow/react";
import { expect, test } from "vitest";
import { formatDuration, formatSize } from "../src/app/format";
import { shortId } from "../src/app/ids";
import { summarize } from "../src/components/Trends";
import { differences } from "../src/run/differences";
import { inputsOf, parseObject } from "../src/run/inputs";
import { layOut, NODE_HEIGHT, NODE_WIDTH } from "../src/run/layout";

test.each([
  [null, "–"],
  [0, "0 ms"],
  [999, "999 ms"],
  [1_234, "1.2 s"],
  [9_990, "9.9 s"],
  [59_999, "59 s"],
  [184_000, "3 min 4 s"],
  [180_000, "3 min"],
  [7_500_000, "2 h 5 min"],
  [266_400_000, "3 d 2 h"],
])("the duration %s is shown as %s", (ms, text) => expect(formatDuration(ms)).toBe(text));

test("sizes are shown with a unit", () =>
  expect([12, 2048, 5_000_000].map(formatSize)).toEqual(["12 B", "2.0 KiB", "4.8 MiB"]));

test("only the paths that differ are listed", () => {
  const before = { same: 1, list: [1, { a: 2 }], gone: true, text: "x" };
  const after = { same: 1, list: [1, { a: 3 }, 4], text: ["x"] };
  expect(differences(before, after)).toEqual([
    { path: "list[1].a", before: "2", after: "3" },
    { path: "list[2]", before: "–", after: "4" },
    { path: "gone", before: "true", after: "–" },
    { path: "text", before: '"x"', after: '["x"]' },
  ]);
  expect(differences(before, structuredClone(before))).toEqual([]);
});

test("the form has a field for each manual input, and the payload of the trigger", () => {
  const nodes = [
    { id: "t", type: "trigger" },
    {
      id: "m",
      type: "manualInput",
      label: "City",
      config: { manualInputVarName: "city", inputVarValue: "Lima" },
    },
    { id: "x", type: "http" },
  ];
  expect(inputsOf({ nodes })).toMatchObject({
    entry: "t",
    fields: [
      {
        nodeId: "m",
        name: "city",
        field: { title: "City", description: "city", kind: "text", initial: "Lima" },
      },
    ],
  });
  expect(inputsOf({ nodes: [] })).toEqual({ entry: null, fields: [] });
});

test.each([
  ["", {}],
  ['{"a":1}', { a: 1 }],
  ["[1]", undefined],
  ["{", undefined],
])("parses the object %j", (text, value) => {
  const parsed = parseObject(text);
  expect(parsed.value).toEqual(value);
  expect(parsed.error === undefined).toBe(value !== undefined);
});

test("the summary counts ended runs only", () => {
  const run = (status: string, seconds: number | null) => ({
    id: status,
    status,
    startedAt: "2026-01-01T00:00:00Z",
    completedAt: seconds === null ? null : `2026-01-01T00:00:0${seconds}Z`,
  });
  const runs = [run("completed", 1), run("failed", 3), run("running", null), run("cancelled", 9)];
  expect(summarize(runs)).toEqual({ ended: 2, successRate: 0.5, median: 2000 });
  expect(summarize([])).toEqual({ ended: 0, successRate: null, median: null });
});

const node = (id: string, x = 0, y = 0): Node => ({ id, position: { x, y }, data: {} });
const edge = (source: string, target: string): Edge => ({ id: source + target, source, target });

test("positions of the document are kept unless cards overlap", () => {
  expect(layOut([node("a"), node("b", 400)], []).get("b")).toEqual({ x: 400, y: 0 });
  const placed = layOut([node("a"), node("b"), node("c")], [edge("a", "b"), edge("a", "c")]);
  const [b, c] = [placed.get("b")!, placed.get("c")!];
  expect(b.x).toBeGreaterThanOrEqual(placed.get("a")!.x + NODE_WIDTH);
  expect(Math.abs(b.y - c.y)).toBeGreaterThanOrEqual(NODE_HEIGHT);
});

test("5,000 nodes are placed without an overlap", () => {
  const nodes = Array.from({ length: 5_000 }, (_, index) => node(`n${index}`));
  const edges = nodes.slice(1).map((target, index) => edge(`n${Math.floor(index / 3)}`, target.id));
  const positions = new Set([...layOut(nodes, edges).values()].map(({ x, y }) => `${x},${y}`));
  expect(positions.size).toBe(5_000);
});

test.each([
  ["54e8b2c5-dd44-47ac-8c66-0f6bd86886ec", "54e8b2c5"],
  ["example-orders", "example-orders"],
  ["x".repeat(24), "x".repeat(24)],
  ["x".repeat(25), `${"x".repeat(23)}…`],
])("the id %s is shown as %s", (id, shown) => {
  expect(shortId(id)).toBe(shown);
});
