import { useEffect, useMemo, useState } from "react";
import type { WorkflowClient } from "../client.js";
import type { ExecutionMessage, TaskFilter, TaskSummary } from "../types.js";
import { useClient } from "./context.js";
import { LiveReader, type LiveState, LOADING } from "./live.js";

/** Maximum size of a page of the service. */
const MAX_PAGE_SIZE = 1_000;
const PAGE_SIZE = 50;

/** A row of a list of tasks. */
export interface LiveTask extends TaskSummary {
  /** It no longer matches the filter, and keeps its place until `showNew`. */
  hasLeft: boolean;
}

export interface UseTasksResult extends LiveState {
  tasks: readonly LiveTask[];
  /** Tasks that came after the list was read; `showNew` adds them. */
  newCount: number;
  showNew: () => void;
  hasMore: boolean;
  loadMore: () => Promise<void>;
  /** Reads the list again, for example after an answer. */
  refresh: () => Promise<void>;
}

interface Page {
  tasks: TaskSummary[];
  hasMore: boolean;
}

interface State extends LiveState {
  tasks: readonly LiveTask[];
  newCount: number;
  hasMore: boolean;
}

const INITIAL: State = { ...LOADING, tasks: [], newCount: 0, hasMore: false };

/** Lists tasks and keeps them current over one connection. No row moves before `showNew`. */
export function useTasks(filter: Omit<TaskFilter, "cursor"> = {}): UseTasksResult {
  const client = useClient();
  const key = JSON.stringify(filter);
  const [state, setState] = useState(INITIAL);
  const list = useMemo(() => new TaskList(client, JSON.parse(key), setState), [client, key]);
  useEffect(() => list.start(), [list]);
  return { ...state, showNew: list.showNew, loadMore: list.loadMore, refresh: list.refresh };
}

class TaskList {
  #state = INITIAL;
  #isOn = false;
  #count: number;
  /** Whether the next page replaces the rows. */
  #isReset = true;
  readonly #pageSize: number;
  readonly #reader: LiveReader<Page>;

  constructor(
    private readonly client: WorkflowClient,
    private readonly filter: Omit<TaskFilter, "cursor">,
    private readonly publish: (state: State) => void,
  ) {
    this.#pageSize = filter.limit ?? PAGE_SIZE;
    this.#count = this.#pageSize;
    this.#reader = new LiveReader(client, {
      organizationId: filter.organizationId,
      read: (signal) => this.#read(signal),
      isRelevant: (message) => this.#isRelevant(message),
      receive: (page) => this.#receive(page),
      publish: (change) => this.#set(change),
    });
  }

  start(): () => void {
    this.#isOn = true;
    this.#isReset = true;
    this.#set(INITIAL);
    const stop = this.#reader.start();
    return () => {
      this.#isOn = false;
      stop();
    };
  }

  get refresh(): () => Promise<void> {
    return this.#reader.refresh;
  }

  readonly showNew = (): void => {
    this.#isReset = true;
    void this.#reader.refresh();
  };

  readonly loadMore = async (): Promise<void> => {
    if (!this.#state.hasMore || this.#state.isLoading) return;
    this.#count += this.#pageSize;
    this.#set({ isLoading: true });
    await this.#reader.refresh();
  };

  async #read(signal: AbortSignal): Promise<Page> {
    const tasks: TaskSummary[] = [];
    let cursor: string | undefined;
    do {
      const limit = Math.min(MAX_PAGE_SIZE, this.#count - tasks.length);
      const page = await this.client.listTasks({ ...this.filter, limit, cursor }, { signal });
      tasks.push(...page.tasks);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined && tasks.length < this.#count);
    return { tasks, hasMore: cursor !== undefined };
  }

  #receive({ tasks, hasMore }: Page): void {
    const fresh = new Map(tasks.map((task) => [task.id, { ...task, hasLeft: false }]));
    const before = this.#isReset ? [] : this.#state.tasks;
    this.#isReset = false;
    const newest = before[0]?.createdAt ?? "";
    const rows = before.map((row) => {
      const task = fresh.get(row.id);
      fresh.delete(row.id);
      // A row after the end of what was read has not left the list.
      return task ?? { ...row, hasLeft: row.hasLeft || !hasMore || row.createdAt > last(tasks) };
    });
    const isNew = ({ createdAt }: TaskSummary) => before.length > 0 && createdAt > newest;
    const others = [...fresh.values()];
    this.#set({
      tasks: [...rows, ...others.filter((task) => !isNew(task))],
      newCount: others.filter(isNew).length,
      hasMore,
    });
  }

  /** Whether a node begins to wait, or the execution of a row changes. */
  #isRelevant({ executionId, logs }: ExecutionMessage): boolean {
    return (
      (logs ?? []).some(({ status }) => status === "waiting") ||
      this.#state.tasks.some((task) => task.executionId === executionId)
    );
  }

  #set(change: Partial<State>): void {
    if (!this.#isOn) return;
    this.#state = { ...this.#state, ...change };
    this.publish(this.#state);
  }
}

const last = (tasks: readonly TaskSummary[]): string => tasks.at(-1)?.createdAt ?? "";
