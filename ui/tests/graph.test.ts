import { expect, test } from "vitest";
import { type ExecutionMessage, type NodeLog, reduce } from "workflow-orchestration-client";
import { skipReason } from "../src/run/definition";
import { frame } from "../src/run/frames";
import { itemsOf, loopsAround, loopsOf, parseRunId } from "../src/run/loops";
import { partsOf } from "../src/run/parts";
import { rowsOf } from "../src/run/timelineRows";
import { graph, node } from "./browser/documents";

const NESTED = graph(
  [
    node("begin", "trigger"),
    node("each", "forEach"),
    node("inner", "forEach"),
    node("work", "http"),
    node("call", "subworkflow"),
    node("end", "output"),
  ],
  "begin>each",
  "each:loopBody>inner",
  "inner:item>work",
  "inner:done>call",
  "each:done>end",
);
const log = (nodeId: string, status = "completed", childExecutionId: string | null = null) =>
  ({ nodeId, nodeLabel: parseRunId(nodeId).nodeId, status, childExecutionId, seq: 1 }) as NodeLog;
const view = (...logs: NodeLog[]) =>
  reduce(undefined, [
    { executionId: "main", status: "running", snapshot: true, logs } as ExecutionMessage,
  ])!;
const NONE = { closed: new Set<string>(), opened: new Set<string>(), items: new Map() };
const main = { executionId: "main", document: NESTED };
const frames = (openings: Partial<typeof NONE>, children: Record<string, string> = {}) =>
  frame(
    main,
    { ...NONE, ...openings },
    (id) => (id === "child" ? graph([node("only", "output")]) : null),
    (_id, runId) => children[runId],
  );
const places = (...all: Parameters<typeof frames>) =>
  frames(...all).nodes.map(({ place }) => place);

test("bodies of loops contain inner loops, and ports have aliases", () => {
  const { nodes, edges, loops } = partsOf(NESTED);
  expect(loopsOf(nodes, edges)).toEqual(loops);
  expect([...loops.bodies.get("each")!].sort()).toEqual(["call", "inner", "work"]);
  expect([...loops.bodies.get("inner")!]).toEqual(["work"]);
  expect(loopsAround(loops, "work")).toEqual(["each", "inner"]);
});

test.each([
  ["work", { nodeId: "work", path: "" }],
  ["work[3][10]", { nodeId: "work", path: "[3][10]" }],
  ["a[x][2]", { nodeId: "a[x]", path: "[2]" }],
])("reads the run id %s", (id, run) => expect(parseRunId(id)).toEqual(run));

test("items have the most urgent status of their runs", () => {
  const runs = view(
    log("inner[0]"),
    log("work[0][0]", "error"),
    log("inner[10]", "running"),
    log("inner[1]", "waiting"),
    log("work[1][0]", "skipped"),
  );
  const { bodies } = partsOf(NESTED).loops;
  expect(itemsOf(runs, bodies.get("each")!, "")).toEqual([
    { index: 0, status: "error" },
    { index: 1, status: "waiting" },
    { index: 10, status: "running" },
  ]);
  expect(itemsOf(runs, bodies.get("inner")!, "[1]")).toEqual([{ index: 0, status: "skipped" }]);
});

test("open frames contain the nodes of the shown item, closed ones none", () => {
  expect(places({})).toEqual(["begin", "each", "end", "inner", "call", "work"]);
  expect(places({ closed: new Set(["each"]) })).toEqual(["begin", "each", "end"]);
  const items = new Map([
    ["each", 2],
    ["inner[2]", 5],
  ]);
  expect(places({ items })).toEqual(["begin", "each", "end", "inner[2]", "call[2]", "work[2][5]"]);
  const opened = new Set(["child", "loading"]);
  expect(places({ items, opened }, { "call[2]": "child" })).toContain("child/only");
  // Without an item, a node of a loop has many children.
  expect(places({ opened }, { call: "child" })).not.toContain("child/only");
  expect(places({ items, opened }, { "call[2]": "loading" })).toHaveLength(6);
});

test("the nodes of a frame are inside it, and no frame covers its neighbors", () => {
  const { nodes, edges } = frames({});
  const at = (wanted: string) => nodes.find(({ place }) => place === wanted)!;
  const isInside = (inner: string, outer: string) => {
    const [a, b] = [at(inner), at(outer)];
    return (
      a.x > b.x && a.y > b.y && a.x + a.width < b.x + b.width && a.y + a.height < b.y + b.height
    );
  };
  expect(isInside("work", "inner") && isInside("inner", "each")).toBe(true);
  expect(at("end").x).toBeGreaterThan(at("each").x + at("each").width);
  const entries = edges
    .filter(({ isEntry }) => isEntry)
    .map(({ source, target }) => [source, target]);
  expect(entries).toEqual([
    ["inner", "work"],
    ["each", "inner"],
  ]);
});

test("the timeline has a segment for each attempt and wait, and the rows of open children", () => {
  const at = (second: number) => new Date(second * 1000).toISOString();
  const runs = view({ ...log("call", "completed", "child"), startedAt: at(1), endedAt: at(9) });
  const execution = { ...runs, executionId: "child", nodes: view(log("only")).nodes };
  const part = (kind: string, attempt: number, from: number, to: number | null) => ({
    ...{ nodeId: "call", kind, attempt, startedAt: at(from) },
    endedAt: to === null ? null : at(to),
  });
  const parts = [part("running", 1, 1, 3), part("parked", 2, 3, 8), part("running", 2, 8, null)];
  const shown = {
    groups: new Set<string>(),
    opened: new Set(["child"]),
    children: new Map([["child", { execution }]]),
    attempts: new Map([["main", new Map([["call", parts]])]]),
    queueLabel: "Queue",
    now: 0,
  };
  const source = { execution: runs, createdAt: at(0), startedAt: at(1) };
  const rows = rowsOf(source, shown);
  expect(rows.map(({ id, depth }) => [id, depth])).toEqual([
    ["", 0],
    ["call", 0],
    ["", 1],
    ["only", 1],
  ]);
  expect(rows[0]?.segments).toEqual([{ kind: "queued", start: 0, end: 1000, attempt: 1 }]);
  expect(rows[1]?.segments).toEqual([
    { kind: "running", start: 1000, end: 3000, attempt: 1 },
    { kind: "parked", start: 3000, end: 8000, attempt: 2 },
    { kind: "running", start: 8000, end: 9000, attempt: 2 },
  ]);
});

test("a node behind skipped nodes has the reason of the first one, in its item", () => {
  const document = graph(
    [node("each", "forEach"), node("if", "condition"), node("a", "http"), node("b", "output")],
    "each:item>if",
    "if:true>a",
    "a>b",
  );
  const runs = view(log("if[1]"), log("a[1]", "skipped"), log("b[1]", "skipped"));
  const reason = skipReason(document, runs, "b[1]");
  expect(reason?.values).toEqual({ node: "if", port: "true" });
  expect(skipReason(document, runs, "b[0]")).toBeNull();
});
