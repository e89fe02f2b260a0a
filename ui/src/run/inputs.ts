import { isTruncated } from "workflow-orchestration-client";
import { toEdges, toNodes, type WorkflowDocument } from "workflow-orchestration-client/flow";
import { queryClient } from "../app/client";
import { type Field, fieldOfValue } from "../forms/fields";
import { readWhole, shownLogQuery } from "./payloads";

type Item = Record<string, unknown>;
const isItem = (value: unknown): value is Item =>
  value !== null && typeof value === "object" && !Array.isArray(value);

export interface InputField {
  nodeId: string;
  name: string;
  /** Its input, whose type is that of the stored value. */
  field: Field;
}

export interface Inputs {
  fields: InputField[];
  /** The first entry node, which receives the payload. */
  entry: string | null;
}

/** Returns the inputs that a document accepts: its `manualInput` nodes, and a payload of its trigger. */
export function inputsOf(document: WorkflowDocument | null | undefined): Inputs {
  const nodes = toNodes(document);
  const targets = new Set(toEdges(document).map(({ target }) => target));
  const fields: InputField[] = [];
  for (const node of nodes) {
    if (node.type !== "manualInput") continue;
    const config = isItem(node.data.config) ? node.data.config : node.data;
    const name = config.inputVarName ?? config.manualInputVarName ?? config.variableName ?? "input";
    const initial = config.inputVarValue ?? config.manualInputVarValue ?? config.variableValue;
    const label = String(node.data.label);
    const description = name === label ? "" : String(name);
    const field = fieldOfValue(node.id, label, description, initial);
    fields.push({ nodeId: node.id, name: String(name), field });
  }
  const entries = nodes.filter(
    ({ id, type }) => (type === "trigger" || type === "webhook") && !targets.has(id),
  );
  const entry = entries.find(({ type }) => type === "trigger") ?? entries[0];
  return { fields, entry: entry?.id ?? null };
}

export interface PastInputs {
  inputs: Item;
  /** The nodes whose inputs are too large to be shown. */
  omitted: string[];
}

/**
 * Returns the inputs of an execution, from the outputs of the nodes that received them: those up to
 * a size, or the inputs of these nodes only, of any size.
 */
export async function pastInputs(
  executionId: string,
  document: WorkflowDocument | undefined,
  only?: readonly string[],
): Promise<PastInputs> {
  const { fields, entry } = inputsOf(document);
  const omitted: string[] = [];
  const output = async (nodeId: string) => {
    if (only) return only.includes(nodeId) ? readWhole(executionId, nodeId, "outputData") : null;
    const data = (await queryClient.fetchQuery(shownLogQuery(executionId, nodeId)))?.outputData;
    if (!isTruncated(data)) return data;
    omitted.push(nodeId);
    return undefined;
  };
  const inputs: Item = {};
  for (const { nodeId, name } of fields) {
    const data = await output(nodeId);
    if (isItem(data) && name in data) inputs[nodeId] = data[name];
  }
  if (entry !== null) {
    const data = await output(entry);
    if (isItem(data) && Object.keys(data).length > 0) inputs[entry] = data;
  }
  return { inputs, omitted };
}

/** Parses JSON that must be an object. */
export function parseObject(text: string): { value?: Item; error?: string } {
  if (text.trim() === "") return { value: {} };
  try {
    const value: unknown = JSON.parse(text);
    return isItem(value) ? { value } : { error: "This must be a JSON object" };
  } catch (error) {
    return { error: (error as Error).message };
  }
}
