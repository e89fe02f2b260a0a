// A service on a loopback port whose responses a test decides, over real connections.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import type { ExecutionMessage, NodeLog } from "../../src/index.js";

export interface Call {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  body: unknown;
}

export type Handler = (call: Call, response: ServerResponse) => void | Promise<void>;

export class FakeService {
  readonly calls: Call[] = [];
  url = "";
  readonly #server: Server;

  constructor(private handler: Handler) {
    this.#server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const url = new URL(request.url ?? "/", "http://service");
      const call: Call = {
        method: request.method ?? "GET",
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        body: text === "" ? undefined : JSON.parse(text),
      };
      this.calls.push(call);
      await this.handler(call, response);
    });
  }

  respondWith(handler: Handler): void {
    this.handler = handler;
  }

  callsOf(ending: string): Call[] {
    return this.calls.filter(({ path }) => path.endsWith(ending));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    onTestFinished(() => {
      this.#server.closeAllConnections();
      this.#server.close();
    });
    return this;
  }
}

export const startService = (handler: Handler): Promise<FakeService> =>
  new FakeService(handler).start();

export function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

export function problem(
  response: ServerResponse,
  status: number,
  detail: string,
  headers = {},
): void {
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ type: "about:blank", title: "Error", status, detail }));
}

/** Opens an event stream as the service does: its first line is `retry`. */
export function openStream(response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write("retry: 2000\n\n");
}

export function send(
  response: ServerResponse,
  ...messages: Array<{ seq?: number | null; type: string; [field: string]: unknown }>
): void {
  for (const message of messages) {
    const id = message.seq == null ? "" : `id: ${message.seq}\n`;
    response.write(`${id}event: ${message.type}\ndata: ${JSON.stringify(message)}\n\n`);
  }
}

export function log(nodeId: string, more: Partial<NodeLog> = {}): NodeLog {
  return {
    nodeId,
    nodeType: "addField",
    nodeLabel: nodeId,
    status: "completed",
    duration: 5,
    timestamp: "2026-11-23T10:00:00.000Z",
    startedAt: "2026-11-23T10:00:00.000Z",
    endedAt: "2026-11-23T10:00:00.005Z",
    waitedMs: null,
    waitingSince: null,
    inputData: null,
    outputData: null,
    error: null,
    attempt: 1,
    lastError: null,
    waitUntil: null,
    waitingFor: null,
    reusedFrom: null,
    childExecutionId: null,
    percentage: null,
    message: null,
    seq: 1,
    ...more,
  } as NodeLog;
}

export function message(seq: number, more: Partial<ExecutionMessage> = {}): ExecutionMessage {
  return {
    type: "execution_progress",
    executionId: "e",
    workflowId: "w",
    organizationId: null,
    status: "running",
    progress: {
      totalNodes: 4,
      completedNodes: 0,
      failedNodes: 0,
      skippedNodes: 0,
      percentage: seq * 10,
    },
    currentNodeId: null,
    currentNode: null,
    seq,
    position: 100 + seq,
    timestamp: "2026-11-23T10:00:00.000Z",
    snapshot: false,
    logs: [],
    ...more,
  } as ExecutionMessage;
}

export const end = (seq: number, more: Partial<ExecutionMessage> = {}): ExecutionMessage =>
  message(seq, {
    type: "execution_complete",
    status: "completed",
    finalOutput: { ok: true },
    ...more,
  });

/** The polling response of an execution. */
export const state = (seq: number, status = "running", more = {}) => ({
  ...message(seq),
  type: undefined,
  status,
  createdAt: "2026-11-23T10:00:00.000Z",
  startedAt: null,
  completedAt: null,
  error: null,
  finalOutput: null,
  logs: [],
  ...more,
});
export const page = (nextSeq: number, logs: NodeLog[] = [], hasMore = false) => ({
  executionId: "e",
  nextSeq,
  hasMore,
  logs,
});
