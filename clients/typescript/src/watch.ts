import type { WorkflowClient } from "./client.js";
import type { ConnectionState } from "./connection.js";
import type { ServiceError } from "./errors.js";
import type { Following } from "./follow.js";
import type { ExecutionMessage, NodeOutputDelta } from "./types.js";
import { type ExecutionView, reduce } from "./view.js";

/** What a subscriber sees. The same object until something changes. */
export interface WatchSnapshot {
  execution: ExecutionView | undefined;
  connection: ConnectionState;
  error: ServiceError | undefined;
  /** Output of running nodes that has arrived so far, by node id. */
  output: ReadonlyMap<string, string>;
}

const NO_OUTPUT: ReadonlyMap<string, string> = new Map();
/** Before the first message, and on a server. */
export const IDLE: WatchSnapshot = {
  execution: undefined,
  connection: "idle",
  error: undefined,
  output: NO_OUTPUT,
};
/** React unmounts and mounts again in strict mode and between pages; the connection remains. */
const LINGER_MS = 1_000;
/** Characters of streamed output that are kept of one node. The log has everything at the end. */
const MAX_OUTPUT_CHARACTERS = 1_000_000;

/** The live state of one execution: connects with the first subscriber, ends after the last. */
export class ExecutionWatch {
  #snapshot = IDLE;
  #following: Following | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();
  /** The attempt of each node whose output is in the snapshot. */
  readonly #attempts = new Map<string, number>();

  constructor(
    private readonly client: WorkflowClient,
    readonly executionId: string,
    private readonly onUnused: () => void,
  ) {}

  readonly getSnapshot = (): WatchSnapshot => this.#snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    clearTimeout(this.#timer);
    this.#following ??= this.client.follow(this.executionId, {
      snapshot: "requests",
      onState: (connection, error) => this.#set({ connection, error }),
      onMessages: (messages) => this.#receive(messages),
    });
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#end(), LINGER_MS);
      (this.#timer as { unref?: () => void }).unref?.();
    };
  };

  /** Tries again after an error. */
  readonly retry = (): void => {
    if (this.#following?.state !== "error") return;
    this.#following = undefined;
    for (const listener of this.#listeners) {
      this.subscribe(listener);
      break;
    }
  };

  #end(): void {
    this.#following?.close();
    this.#following = undefined;
    this.onUnused();
  }

  #receive(messages: readonly (ExecutionMessage | NodeOutputDelta)[]): void {
    const states: ExecutionMessage[] = [];
    let output = this.#snapshot.output;
    for (const message of messages) {
      if (message.type !== "node_output_delta") {
        states.push(message);
        continue;
      }
      const { nodeId, attempt, delta } = message;
      const before = this.#attempts.get(nodeId) === attempt ? (output.get(nodeId) ?? "") : "";
      this.#attempts.set(nodeId, attempt);
      output = new Map(output).set(nodeId, (before + delta).slice(-MAX_OUTPUT_CHARACTERS));
    }
    this.#set({ execution: reduce(this.#snapshot.execution, states), output });
  }

  #set(change: Partial<WatchSnapshot>): void {
    this.#snapshot = { ...this.#snapshot, ...change };
    for (const listener of this.#listeners) listener();
  }
}
