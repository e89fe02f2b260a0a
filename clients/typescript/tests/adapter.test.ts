import type { Edge, Node } from "@xyflow/react";
import { expect, test } from "vitest";
import { fromReactFlow, toEdges, toNodes } from "../src/flow/index.js";

/** The `toObject()` of an editor with one component for all nodes and its own names. */
const EDITOR = {
  nodes: [
    {
      id: "1",
      type: "workflow",
      position: { x: 1, y: 2 },
      data: { kind: "start", title: "Begin" },
      ...{ selected: true, dragging: false, measured: { width: 240, height: 90 } },
    },
    {
      id: "2",
      type: "workflow",
      position: { x: 3, y: 4 },
      data: { kind: "branch", title: "Large?", settings: { conditionField: "total" } },
    },
    { id: "3", type: "workflow", position: { x: 5, y: 6 }, data: { kind: "http", title: "Send" } },
    { id: "n", type: "note", position: { x: 0, y: 0 }, data: { text: "Remember" } },
  ] as Node[],
  edges: [
    { id: "a", source: "1", target: "2", animated: true },
    { id: "b", source: "2", target: "3", sourceHandle: "out-yes" },
    { id: "c", source: "n", target: "3" },
  ] as Edge[],
  viewport: { x: 0, y: 0, zoom: 1 },
};

test("an editor with its own names becomes a document of the service", () => {
  const document = fromReactFlow(EDITOR, {
    typeOf: ({ type, data }) => (data.kind as string | undefined) ?? type,
    labelOf: ({ data }) => data.title as string | undefined,
    configOf: ({ data }) => (data.settings ?? {}) as Record<string, unknown>,
    types: { start: "trigger", branch: "condition" },
    ports: { "out-yes": "true" },
  });
  expect(document).toEqual({
    nodes: [
      {
        ...{ id: "1", type: "trigger", position: { x: 1, y: 2 } },
        data: { label: "Begin", config: {} },
      },
      {
        ...{ id: "2", type: "condition", position: { x: 3, y: 4 } },
        data: { label: "Large?", config: { conditionField: "total" } },
      },
      {
        ...{ id: "3", type: "http", position: { x: 5, y: 6 } },
        data: { label: "Send", config: {} },
      },
    ],
    edges: [
      { id: "a", source: "1", target: "2" },
      { id: "b", source: "2", target: "3", sourceHandle: "true" },
    ],
  });
  expect(toNodes(document).map(({ data }) => data.label)).toEqual(["Begin", "Large?", "Send"]);
  expect(toEdges(document)).toHaveLength(2);
});

test("without a mapping, types, ports and the fields of data are kept", () => {
  const nodes = [
    { id: "a", type: "http", position: { x: 0, y: 0 }, data: { label: "A", httpUrl: "u" } },
    { id: "b", type: "constructor", position: { x: 0, y: 0 }, data: { config: { k: 1 } } },
  ] as Node[];
  const edges = [{ id: "e", source: "a", target: "b", sourceHandle: "error" }] as Edge[];
  const document = fromReactFlow({ nodes, edges }, { types: { x: "y" } });
  expect(document.nodes).toMatchObject([
    { type: "http", data: { label: "A", config: { httpUrl: "u" } } },
    { type: "constructor", data: { label: "b", config: { k: 1 } } },
  ]);
  expect(document.edges).toMatchObject([{ sourceHandle: "error" }]);
});
