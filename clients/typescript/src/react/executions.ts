import { useEffect, useMemo, useState } from "react";
import type { WorkflowClient } from "../client.js";
import type { ConnectionState } from "../connection.js";
import { ServiceError } from "../errors.js";
import type {
  ExecutionFilter,
  ExecutionMessage,
  ExecutionSummary,
  NodeType,
  Progress,
} from "../types.js";
import { useClient } from "./context.js";

/** A row of a list, with the progress of its events. */
export interface LiveExecution extends ExecutionSummary {
  progress?: Progress;
}

export interface UseExecutionsResult {
  executions: readonly LiveExecution[];
  /** Executions that started after the list was read, newest first; `showNew` adds them. */
  newCount: number;
  showNew: () => void;
  hasMore: boolean;
  loadMore: () => Promise<void>;
  isLoading: boolean;
  connection: ConnectionState;
  error: ServiceError | undefined;
  refresh: () => void;
}

interface State {
  executions: readonly LiveExecution[];
  unseen: readonly string[];
  nextCursor: string | null;
  isLoading: boolean;
  connection: ConnectionState;
  error: ServiceError | undefined;
}

const INITIAL: State = {
  executions: [],
  unseen: [],
  nextCursor: null,
  isLoading: true,
  connection: "idle",
  error: undefined,
};

/** Maximum number of new executions that are counted. */
const MAX_UNSEEN = 1_000;

/** Lists executions and keeps them current over one connection. New ones wait for `showNew`. */
export function useExecutions(filter: ExecutionFilter = {}): UseExecutionsResult {
  const client = useClient();
  const key = JSON.stringify(filter);
  const [state, setState] = useState(INITIAL);
  const list = useMemo(() => new ExecutionList(client, JSON.parse(key), setState), [client, key]);
  useEffect(() => list.start(), [list]);
  return {
    executions: state.executions,
    newCount: state.unseen.length,
    hasMore: state.nextCursor !== null,
    isLoading: state.isLoading,
    connection: state.connection,
    error: state.error,
    showNew: list.refresh,
    refresh: list.refresh,
    loadMore: list.loadMore,
  };
}

/** Reads pages of a list, and applies the events of one stream to them. */
class ExecutionList {
  #state = INITIAL;
  #abort = new AbortController();
  #isOn = false;

  constructor(
    private readonly client: WorkflowClient,
    private readonly filter: ExecutionFilter,
    private readonly publish: (state: State) => void,
  ) {}

  start(): () => void {
    this.#isOn = true;
    this.#abort = new AbortController();
    this.#set(INITIAL);
    void this.#read();
    const organizationId = this.filter.organizationId ?? undefined;
    const events = this.client.events({
      organizationId,
      onState: (connection, error) =>
        this.#set({ connection, ...(error && connection === "error" ? { error } : {}) }),
      onMessages: (messages) => this.#receive(messages),
      onPoll: () => this.#read(),
    });
    return () => {
      this.#isOn = false;
      this.#abort.abort();
      events.close();
    };
  }

  readonly refresh = (): void => void this.#read();

  readonly loadMore = async (): Promise<void> => {
    const { nextCursor } = this.#state;
    if (nextCursor === null || this.#state.isLoading) return;
    this.#set({ isLoading: true });
    await this.#page(nextCursor, (page) => {
      const known = new Set(this.#state.executions.map(({ id }) => id));
      return [...this.#state.executions, ...page.filter(({ id }) => !known.has(id))];
    });
  };

  async #read(): Promise<void> {
    await this.#page(undefined, (page) => page, { unseen: [] });
  }

  async #page(
    cursor: string | undefined,
    merge: (page: ExecutionSummary[]) => readonly LiveExecution[],
    more: Partial<State> = {},
  ): Promise<void> {
    const { signal } = this.#abort;
    try {
      const query = { ...this.filter, cursor };
      const { executions, nextCursor } = await this.client.listExecutions(query, { signal });
      if (signal.aborted) return;
      const progress = new Map(this.#state.executions.map((row) => [row.id, row.progress]));
      const rows = merge(executions).map((row) => ({ ...row, progress: progress.get(row.id) }));
      this.#set({ executions: rows, nextCursor, isLoading: false, error: undefined, ...more });
    } catch (error) {
      if (!signal.aborted) this.#set({ isLoading: false, error: ServiceError.from(error) });
    }
  }

  #receive(messages: readonly ExecutionMessage[]): void {
    const latest = new Map(messages.map((message) => [message.executionId, message]));
    const executions = this.#state.executions.map((row) => {
      const message = latest.get(row.id);
      latest.delete(row.id);
      return message ? { ...row, ...changes(row, message) } : row;
    });
    const unseen = new Set(this.#state.unseen);
    for (const message of latest.values()) {
      if (this.#matches(message) && unseen.size < MAX_UNSEEN) unseen.add(message.executionId);
    }
    this.#set({ executions, unseen: [...unseen] });
  }

  /** Whether an execution that is not in the list is a new row of its beginning. */
  #matches({ seq, status, workflowId }: ExecutionMessage): boolean {
    const { createdTo } = this.filter;
    const statuses: readonly unknown[] = [this.filter.status ?? []].flat();
    return (
      seq === 1 &&
      !this.#state.isLoading &&
      !(createdTo && Date.parse(createdTo) <= Date.now()) &&
      (statuses.length === 0 || statuses.includes(status)) &&
      (!this.filter.workflowId || this.filter.workflowId === workflowId)
    );
  }

  #set(change: Partial<State>): void {
    if (!this.#isOn) return;
    this.#state = { ...this.#state, ...change };
    this.publish(this.#state);
  }
}

function changes(row: LiveExecution, message: ExecutionMessage): Partial<LiveExecution> {
  const { status, progress, timestamp } = message;
  const hasEnded = message.type !== "execution_progress";
  return {
    status: status ?? row.status,
    progress: progress ?? row.progress,
    error: message.error ?? row.error,
    startedAt: row.startedAt ?? (status === "running" ? (timestamp ?? null) : null),
    completedAt: row.completedAt ?? (hasEnded ? (timestamp ?? null) : null),
  };
}

/** Returns the node types of the service, for forms and palettes. */
export function useNodeTypes(): {
  nodeTypes: readonly NodeType[];
  isLoading: boolean;
  error?: ServiceError;
} {
  const client = useClient();
  const [state, setState] = useState<{
    nodeTypes: readonly NodeType[];
    isLoading: boolean;
    error?: ServiceError;
  }>({ nodeTypes: [], isLoading: true });
  useEffect(() => {
    const abort = new AbortController();
    client.nodeTypes({ signal: abort.signal }).then(
      (nodeTypes) => setState({ nodeTypes, isLoading: false }),
      (error) => {
        if (!abort.signal.aborted)
          setState({ nodeTypes: [], isLoading: false, error: ServiceError.from(error) });
      },
    );
    return () => abort.abort();
  }, [client]);
  return state;
}
