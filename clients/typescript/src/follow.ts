import type { WorkflowClient } from "./client.js";
import { Connected, Connection, type ConnectionOptions, type Source } from "./connection.js";
import { ServiceError } from "./errors.js";
import {
  type ExecutionMessage,
  isActive,
  type LogPage,
  type Message,
  type NodeLog,
} from "./types.js";

export interface FollowOptions extends ConnectionOptions {
  /** Only messages after this number; without it, the first message is the current state. */
  afterSeq?: number;
  /** Messages that arrived together. */
  onMessages?: (messages: Message[]) => void;
  /**
   * Where the first state comes from: one message of the stream with payloads up to 8 KiB, or
   * requests without payloads, which are small for executions of any size.
   */
  snapshot?: "stream" | "requests";
  /** Ends the connection. */
  signal?: AbortSignal;
}

/** Maximum size of a result in the messages of a stream. */
const MAX_PAYLOAD_CHARACTERS = 8_192;
const TYPES: Record<string, ExecutionMessage["type"]> = {
  failed: "execution_error",
  cancelled: "execution_cancelled",
};

/** Follows one execution. Iterate over it, or pass `onMessages`. */
export class Following extends Connected implements AsyncIterable<Message> {
  protected readonly connection: Connection;
  readonly #client: WorkflowClient;
  /** Number of the last change that has arrived. */
  seq: number | undefined;
  #queue: Message[] | undefined;
  #next: () => void = () => undefined;

  constructor(
    client: WorkflowClient,
    readonly executionId: string,
    private readonly options: FollowOptions = {},
  ) {
    super();
    // A token for one execution is enough for its stream, and a page may only have that.
    this.#client = client;
    this.seq = options.afterSeq;
    const source: Source = {
      open: (signal) => this.#open(signal),
      receive: (messages) => this.#receive(messages),
      poll: (hold, signal) => this.#poll(hold, signal),
    };
    this.connection = new Connection(source, { ...client.options.connection, ...options });
    const { signal } = options;
    if (signal?.aborted) this.close();
    signal?.addEventListener("abort", () => this.close(), { once: true });
    void this.ended.then(() => this.#next());
  }

  /** Yields the messages; throws a `ServiceError` if the service rejects the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message> {
    this.#queue ??= [];
    let isOver = false;
    void this.ended.then(() => {
      isOver = true;
    });
    try {
      for (;;) {
        while (this.#queue.length > 0) yield this.#queue.shift() as Message;
        if (isOver) break;
        await new Promise<void>((resolve) => {
          this.#next = resolve;
        });
        await Promise.resolve();
      }
      if (this.error) throw this.error;
    } finally {
      this.close();
    }
  }

  async #open(signal: AbortSignal): Promise<Response> {
    if (this.seq === undefined && this.options.snapshot === "requests") {
      const { ended } = await this.#poll(false, signal);
      if (ended) return new Response(null, { status: 204 });
    }
    const path = `/api/executions/${encodeURIComponent(this.executionId)}/stream`;
    const headers = { Accept: "text/event-stream" };
    const query = { afterSeq: this.seq };
    const response = await this.#client.fetch("GET", path, { headers, query, signal });
    if (!response.ok) throw await ServiceError.of(response);
    return response;
  }

  #receive(messages: Message[]): boolean {
    const fresh = messages.filter((message) => {
      if (message.type === "node_output_delta") return true;
      const isOld = !message.snapshot && message.seq != null && message.seq <= (this.seq ?? -1);
      if (message.seq != null) this.seq = message.seq;
      return !isOld;
    });
    if (fresh.length > 0) this.options.onMessages?.(fresh);
    this.#queue?.push(...fresh);
    this.#next();
    return messages.some(
      ({ type }) => type !== "execution_progress" && type !== "node_output_delta",
    );
  }

  /** Requests the changes, as one message in the shape of a stream's. */
  async #poll(hold: boolean, signal: AbortSignal): Promise<{ ended: boolean; changed: boolean }> {
    const known = this.seq;
    const waitSeq = hold ? known : undefined;
    const query = { waitSeq, maxPayloadCharacters: MAX_PAYLOAD_CHARACTERS };
    const execution = await this.#client.getExecution(this.executionId, query, { signal });
    if (known !== undefined && execution.seq <= known && isActive(execution.status)) {
      return { ended: false, changed: false };
    }
    // The logs may already be newer than the state. They then arrive again with the next message.
    const logs: NodeLog[] = [];
    let page: LogPage | undefined;
    do {
      const query = { afterSeq: page?.nextSeq ?? known ?? 0, payloads: false };
      page = await this.#client.getLogs(this.executionId, query, { signal });
      logs.push(...page.logs);
    } while (page.hasMore);
    const { logs: _last, createdAt: _created, ...state } = execution;
    const isOver = !isActive(execution.status);
    const type = isOver
      ? (TYPES[execution.status ?? ""] ?? "execution_complete")
      : "execution_progress";
    const message = { ...state, type, snapshot: known === undefined, logs } as ExecutionMessage;
    return { ended: this.#receive([message]), changed: true };
  }
}
