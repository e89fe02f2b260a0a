import { expect, test } from "vitest";
import { type NodeRun, nodeRuns, RunOverlay, toEdges, toNodes } from "../src/flow/index.js";
import { type ExecutionView, type NodeLog, reduce } from "../src/index.js";
import { log, message } from "./support/service.js";

const view = (...logs: NodeLog[]) =>
  reduce(undefined, [message(1, { snapshot: true, logs })]) as ExecutionView;
const DOCUMENT = {
  nodes: [
    { id: "a", type: "trigger", label: "Start", x: 1, y: 2, config: { k: 1 } },
    { id: "b", type: "http", label: "Call", x: 3, y: 4, config: {} },
    { id: "c", type: "output", label: "End", x: 5, y: 6, config: {} },
  ],
  connections: [
    { id: "ab", fromNodeId: "a", toNodeId: "b" },
    { id: "bc", fromNodeId: "b", toNodeId: "c", outputType: "error" },
  ],
};
const REACT_FLOW = {
  nodes: [
    {
      id: "a",
      type: "trigger",
      position: { x: 1, y: 2 },
      data: { label: "Start", k: 1 },
      selected: true,
    },
    { id: "b", type: "http", position: { x: 3, y: 4 }, data: {} },
  ],
  edges: [{ id: "ab", source: "a", target: "b", sourceHandle: "true", animated: true }],
};

test("reads the main project's format", () => {
  expect(toNodes(DOCUMENT)[0]).toEqual({
    id: "a",
    type: "trigger",
    position: { x: 1, y: 2 },
    data: { label: "Start", config: { k: 1 } },
  });
  expect(toEdges(DOCUMENT)[1]).toEqual({
    id: "bc",
    source: "b",
    target: "c",
    sourceHandle: "error",
    targetHandle: null,
  });
  const old = {
    nodes: [],
    connections: [{ fromNodeId: "a", toNodeId: "b", fromPort: "true", toPort: "A" }],
  };
  expect(toEdges(old)[0]).toMatchObject({ id: "a-b-0", sourceHandle: "true", targetHandle: "A" });
});

test("keeps the fields of React Flow's own format", () => {
  expect(toNodes(REACT_FLOW)[0]).toMatchObject({ selected: true, data: { label: "Start", k: 1 } });
  expect(toNodes(REACT_FLOW)[1]?.data.label).toBe("b");
  expect(toEdges(REACT_FLOW)[0]).toMatchObject({ animated: true, sourceHandle: "true" });
});

test.each([null, undefined, {}, { nodes: "x" }, { nodes: [1, null, []] }])(
  "survives the document %j",
  (document) => {
    expect(new RunOverlay().update(document as never, undefined)).toEqual([[], []]);
  },
);

test("puts status, duration, attempt and error on the nodes, and the path on the edges", () => {
  const failed = log("b", { status: "error", attempt: 3, duration: 70, error: "503" });
  const [nodes, edges] = new RunOverlay().update(
    DOCUMENT,
    view(log("a"), failed, log("c", { status: "running" })),
  );
  expect(nodes.map(({ data }) => data.run)).toMatchObject([
    { status: "success", duration: 5, attempt: 1, error: null },
    { status: "error", duration: 70, attempt: 3, error: "503" },
    { status: "loading" },
  ]);
  expect(edges.map(({ data }) => data?.run)).toEqual([{ status: "taken" }, { status: "error" }]);
});

test("an error port without an error, and nodes that were skipped, are skipped", () => {
  const [nodes, edges] = new RunOverlay().update(
    DOCUMENT,
    view(log("a"), log("b"), log("c", { status: "skipped" })),
  );
  expect(nodes[2]?.data.run).toMatchObject({ status: "skipped" });
  expect(edges[1]?.data?.run).toEqual({ status: "skipped" });
});

test("combines the runs of loop items at their node", () => {
  const runs = [
    log("b[0]"),
    log("b[1]", { status: "error", error: "no" }),
    log("b[2]", { status: "running", duration: null }),
  ];
  const [nodes] = new RunOverlay().update(DOCUMENT, view(log("a"), ...runs));
  expect(nodes[1]?.data.run as NodeRun).toMatchObject({
    status: "loading",
    items: { success: 1, error: 1, loading: 1 },
    duration: 10,
    error: "no",
  });
});

test("returns the runs of one item of a loop, with those of the items of a loop in it", () => {
  const execution = view(
    log("a"),
    log("b[1]", { duration: 7 }),
    log("c[1][0]"),
    log("c[1][1]", { status: "error" }),
    log("b[10]", { status: "error" }),
  );
  const runs = nodeRuns(execution, "[1]");
  expect([...runs.keys()].sort()).toEqual(["b", "c"]);
  expect(runs.get("b")).toMatchObject({ status: "success", duration: 7, items: null });
  expect(runs.get("c")).toMatchObject({ status: "error", items: { success: 1, error: 1 } });
  expect([...nodeRuns(execution, "[1][0]").keys()]).toEqual(["c"]);
});

test("keeps the runs of loop items when the end of the loop decides the outcome", () => {
  const runs = [log("b[0]"), log("b[1]"), log("b", { duration: null })];
  const [nodes] = new RunOverlay().update(DOCUMENT, view(log("a"), ...runs));
  expect(nodes[1]?.data.run as NodeRun).toMatchObject({
    status: "success",
    items: { success: 2 },
    duration: 10,
  });
});

test("objects that did not change stay the same, so that React Flow renders only the others", () => {
  const overlay = new RunOverlay();
  const before = overlay.update(DOCUMENT, view(log("a")));
  expect(overlay.update(DOCUMENT, view(log("a")))[0]).toBe(before[0]);
  const after = overlay.update(DOCUMENT, view(log("a"), log("b", { status: "running" })));
  expect(after[0][0]).toBe(before[0][0]);
  expect(after[0][1]).not.toBe(before[0][1]);
});

test("an old log that arrives again does not replace a newer one", () => {
  const first = view(log("a", { seq: 9, status: "completed" }));
  expect(
    reduce(first, [message(2, { logs: [log("a", { seq: 2, status: "running" })] })])?.nodes.get("a")
      ?.status,
  ).toBe("completed");
});

test("a snapshot replaces the node runs before it", () => {
  const first = view(log("a"), log("b"));
  const next = reduce(first, [message(5, { snapshot: true, logs: [log("a")], omittedLogs: 7 })]);
  expect([...(next?.nodes.keys() ?? [])]).toEqual(["a"]);
  expect(next?.omittedNodes).toBe(7);
});

test("a node may be called __proto__", () => {
  expect(view(log("__proto__")).nodes.get("__proto__")?.status).toBe("completed");
});
