import type { Edge, Node } from "@xyflow/react";
import type { WorkflowDocument } from "./document.js";

/** React Flow's `toObject()`: other fields, such as `viewport`, are ignored. */
export interface ReactFlowObject {
  nodes: readonly Node[];
  edges: readonly Edge[];
}

/** How the nodes of an editor correspond to node types of the service. */
export interface ReactFlowMapping {
  /** Node types of the service by types of the editor. Other types keep their name. */
  types?: Readonly<Record<string, string>>;
  /** The type of the editor; `node.type` by default. Many editors have it in `data`. */
  typeOf?: (node: Node) => string | undefined;
  /** `data.label` by default. */
  labelOf?: (node: Node) => string | undefined;
  /** The config of the node type; `data.config` by default, otherwise `data` without its label. */
  configOf?: (node: Node) => Record<string, unknown>;
  /** Port names by handle ids of the editor. Other handles keep their name. */
  ports?: Readonly<Record<string, string>>;
  /** Whether a node is a part of the workflow; by default, groups and notes are not. */
  isNode?: (node: Node) => boolean;
}

const DECORATIONS = new Set(["group", "note", "annotation"]);
const renamed = (names: Readonly<Record<string, string>> | undefined, name: string): string =>
  names && Object.hasOwn(names, name) ? (names[name] as string) : name;

function ownConfig({ data }: Node): Record<string, unknown> {
  const { config, label: _label, ...others } = data;
  const isObject = config !== null && typeof config === "object" && !Array.isArray(config);
  return isObject ? (config as Record<string, unknown>) : others;
}

/**
 * Returns the document that the service runs, from the state of a React Flow editor with its own
 * node types and field names. Selection, sizes and styles are left out.
 */
export function fromReactFlow(
  flow: ReactFlowObject,
  mapping: ReactFlowMapping = {},
): WorkflowDocument {
  const { typeOf = ({ type }) => type, configOf = ownConfig, labelOf } = mapping;
  const { isNode = (node: Node) => !DECORATIONS.has(typeOf(node) ?? "") } = mapping;
  const nodes = flow.nodes.filter(isNode);
  const ids = new Set(nodes.map(({ id }) => id));
  const port = (handle: string | null | undefined) =>
    handle == null ? handle : renamed(mapping.ports, handle);
  return {
    nodes: nodes.map((node) => ({
      id: node.id,
      type: renamed(mapping.types, typeOf(node) ?? ""),
      position: node.position,
      data: {
        label: labelOf?.(node) ?? (node.data.label as string | undefined) ?? node.id,
        config: configOf(node),
      },
    })),
    edges: flow.edges
      .filter(({ source, target }) => ids.has(source) && ids.has(target))
      .map(({ id, source, target, sourceHandle, targetHandle }) => ({
        ...{ id, source, target },
        ...{ sourceHandle: port(sourceHandle), targetHandle: port(targetHandle) },
      })),
  };
}
