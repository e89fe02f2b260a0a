// Requests for payloads, which are read whole only up to a size.
import type { NodeLog } from "workflow-orchestration-client";
import { executionQuery, nodeLogQuery } from "workflow-orchestration-client/query";
import { client, queryClient } from "../app/client";

/** Above this size only the start of a payload is requested, in characters of JSON. */
const MAX_READ = 256 * 1024;
const LIMIT = { maxPayloadCharacters: MAX_READ };

export type Side = "inputData" | "outputData";

/** The state of an execution with its times, and its result up to `MAX_READ`. */
export const detailsQuery = (executionId: string) => executionQuery(client, executionId, LIMIT);

/** The log of a node with the payloads up to `MAX_READ`. */
export const shownLogQuery = (executionId: string, nodeId: string, seq?: number) =>
  nodeLogQuery(client, executionId, nodeId, { ...LIMIT, seq });

/** Reads a payload of any size, which is not kept. */
export async function readWhole(
  executionId: string,
  nodeId: string,
  side: Side,
): Promise<NodeLog[Side]> {
  const query = { ...nodeLogQuery(client, executionId, nodeId), gcTime: 0 };
  return (await queryClient.fetchQuery(query))?.[side] ?? null;
}

/** Reads the result of an execution, up to the maximum size of a response. */
export async function readResult(executionId: string): Promise<unknown> {
  return (await client.getExecution(executionId)).finalOutput;
}

/** Saves a value as a file of JSON. */
export function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: `${name}.json` });
  link.click();
  URL.revokeObjectURL(url);
}
