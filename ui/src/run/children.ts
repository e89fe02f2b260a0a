// The child executions that a page shows: their documents, and their live state on one connection.
import { useEffect, useMemo, useState } from "react";
import {
  type Execution,
  type ExecutionMessage,
  type ExecutionView,
  type NodeLog,
  reduce,
  ServiceError,
} from "workflow-orchestration-client";
import { client, queryClient } from "../app/client";
import { type Definition, definitionQuery } from "./definition";
import { detailsQuery } from "./payloads";

export interface ChildRun {
  execution?: ExecutionView;
  /** Times of the execution, which are not part of the events. */
  details?: Execution;
  /** Null if another program created the execution. */
  definition?: Definition | null;
  error?: ServiceError;
}

export type ChildRuns = ReadonlyMap<string, ChildRun>;

/** Returns these executions. They change as their events arrive. */
export function useChildRuns(ids: readonly string[]): ChildRuns {
  const [runs, setRuns] = useState<ChildRuns>(new Map());
  const watch = useMemo(() => new ChildWatch(setRuns), []);
  const key = ids.join(",");
  useEffect(() => watch.show(key === "" ? [] : key.split(",")), [watch, key]);
  useEffect(() => () => watch.close(), [watch]);
  return runs;
}

/** Reads executions, and applies the events of one stream to those that have not ended. */
class ChildWatch {
  #runs = new Map<string, ChildRun>();
  #followed: string[] = [];
  #close: () => void = () => undefined;
  #abort = new AbortController();

  constructor(private readonly publish: (runs: ChildRuns) => void) {}

  show(ids: string[]): void {
    if (this.#abort.signal.aborted) this.#abort = new AbortController();
    const kept = new Map(ids.map((id) => [id, this.#runs.get(id) ?? {}]));
    const added = ids.filter((id) => !this.#runs.has(id));
    this.#runs = kept;
    this.publish(kept);
    this.#follow();
    for (const id of added) void this.#read(id).then(() => this.#follow());
  }

  close(): void {
    this.#abort.abort();
    this.#close();
    this.#followed = [];
    this.#runs = new Map();
  }

  #set(id: string, change: ChildRun): void {
    const known = this.#runs.get(id);
    if (known === undefined || this.#abort.signal.aborted) return;
    this.#runs = new Map(this.#runs).set(id, { ...known, ...change });
    this.publish(this.#runs);
  }

  /** Requests the state and the changes of the node runs, without payloads. */
  async #read(id: string): Promise<void> {
    const { signal } = this.#abort;
    try {
      const known = this.#runs.get(id)?.execution;
      const details = await client.getExecution(id, { maxPayloadCharacters: 1 }, { signal });
      const logs: NodeLog[] = [];
      let query = { afterSeq: known?.seq ?? 0, payloads: false };
      for (let hasMore = true; hasMore; ) {
        const page = await client.getLogs(id, query, { signal });
        logs.push(...page.logs);
        query = { ...query, afterSeq: page.nextSeq };
        hasMore = page.hasMore;
      }
      const definition =
        this.#runs.get(id)?.definition ?? (await queryClient.fetchQuery(definitionQuery(id)));
      const current = this.#runs.get(id)?.execution;
      // Events may have arrived in the meantime.
      const state = current && current.seq > details.seq ? current : details;
      const snapshot = current === undefined;
      const message = { ...state, type: "execution_progress", snapshot, logs };
      const execution = reduce(current, [message as unknown as ExecutionMessage]);
      this.#set(id, { execution, details, definition, error: undefined });
    } catch (error) {
      if (!signal.aborted) this.#set(id, { error: ServiceError.from(error) });
    }
  }

  /** Follows the executions that have not ended, on one connection. */
  #follow(): void {
    if (this.#abort.signal.aborted) return;
    const isFollowed = (id: string) => this.#runs.get(id)?.execution?.active === true;
    const active = [...this.#runs.keys()].filter(isFollowed);
    if (active.every((id) => this.#followed.includes(id))) return;
    this.#close();
    this.#followed = active;
    const events = client.events({
      executionIds: active,
      onMessages: (messages) => this.#receive(messages),
      onPoll: async () => void (await Promise.all(active.map((id) => this.#read(id)))),
    });
    this.#close = () => events.close();
  }

  #receive(messages: ExecutionMessage[]): void {
    for (const id of new Set(messages.map(({ executionId }) => executionId))) {
      const own = messages.filter(({ executionId }) => executionId === id);
      // The first state in a stream may leave node runs out.
      if (own.some(({ omittedLogs }) => omittedLogs)) void this.#read(id);
      const before = this.#runs.get(id)?.execution;
      const execution = reduce(
        before,
        own.filter(({ omittedLogs }) => !omittedLogs),
      );
      this.#set(id, { execution });
      if (before?.active && !execution?.active) void this.#readDetails(id);
    }
  }

  async #readDetails(id: string): Promise<void> {
    await queryClient.invalidateQueries(detailsQuery(id));
    const details = await queryClient.fetchQuery(detailsQuery(id)).catch(() => undefined);
    if (details) this.#set(id, { details });
  }
}
