import { useCallback, useEffect, useRef, useState } from "react";
import type { ConnectionState } from "../connection.js";
import { ServiceError } from "../errors.js";
import type { ExecuteRequest } from "../types.js";
import type { ExecutionView } from "../view.js";
import { useClient } from "./context.js";
import { type ExecutionActions, useExecution } from "./execution.js";

export interface UseWorkflowOptions {
  /** The unsaved document to run. The workflow id then only names the stored execution. */
  graph?: Record<string, unknown>;
  organizationId?: string;
  /** Where the id of the last execution is kept; `localStorage` by default, `null` for nowhere. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
}

export interface UseWorkflowResult extends ExecutionActions {
  /** Starts an execution and follows it. Returns its id, or undefined if `error` is set. */
  run: (inputs?: Record<string, unknown>) => Promise<string | undefined>;
  /** Whether a start has been requested and has no response yet. */
  isStarting: boolean;
  executionId: string | null;
  execution: ExecutionView | undefined;
  connection: ConnectionState;
  /** The last rejected start or action, or the error of the connection. */
  error: ServiceError | undefined;
  /** Forgets the execution; it continues in the service. */
  reset: () => void;
}

const keyOf = (workflowId: string) => `workflow-execution:${workflowId}`;

/** Returns the storage, or null if there is none, or if the browser forbids it. */
function storageOf(options: UseWorkflowOptions): UseWorkflowOptions["storage"] {
  if (options.storage !== undefined) return options.storage;
  try {
    return typeof localStorage === "undefined" ? null : localStorage;
  } catch {
    return null;
  }
}

/** Calls a method of a storage, which may be full or forbidden. */
function attempt<Result>(action: () => Result): Result | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

/** Starts a workflow and follows its execution, also after the page was closed and opened again. */
export function useWorkflow(
  workflowId: string,
  options: UseWorkflowOptions = {},
): UseWorkflowResult {
  const client = useClient();
  const [executionId, setExecutionId] = useState<string | null>(null);
  const [isStarting, setIsStarting] = useState(false);
  const [rejection, setRejection] = useState<ServiceError>();
  const latest = useRef(options);
  latest.current = options;
  const starts = useRef(0);

  const follow = useCallback(
    (id: string | null) => {
      const storage = storageOf(latest.current);
      attempt(() =>
        id === null
          ? storage?.removeItem(keyOf(workflowId))
          : storage?.setItem(keyOf(workflowId), id),
      );
      setExecutionId(id);
    },
    [workflowId],
  );

  // After the first render, because a server has no storage and its page must be the same.
  useEffect(() => {
    starts.current += 1;
    setRejection(undefined);
    setExecutionId(attempt(() => storageOf(latest.current)?.getItem(keyOf(workflowId))) ?? null);
  }, [workflowId]);

  const followed = useExecution(executionId);
  const { retry: _retry, error, cancel, rerun, resume, ...state } = followed;

  // The stored execution was deleted in the meantime.
  useEffect(() => {
    if (error?.status === 404) follow(null);
  }, [error, follow]);

  const run = useCallback(
    async (inputs?: Record<string, unknown>): Promise<string | undefined> => {
      const start = ++starts.current;
      const { graph, organizationId } = latest.current;
      setIsStarting(true);
      setRejection(undefined);
      try {
        const target = graph ? { graph, workflowName: workflowId } : { workflowId };
        const request = { ...target, inputs, organizationId } as ExecuteRequest;
        const { executionId: id } = await startOnce(client, request);
        if (start === starts.current) follow(id);
        return id;
      } catch (thrown) {
        if (start === starts.current) setRejection(ServiceError.from(thrown));
        return undefined;
      } finally {
        if (start === starts.current) setIsStarting(false);
      }
    },
    [client, follow, workflowId],
  );

  const rerunAndFollow = useCallback<ExecutionActions["rerun"]>(
    async (request) => {
      const id = await rerun(request);
      follow(id);
      return id;
    },
    [rerun, follow],
  );

  const isGone = error?.status === 404;
  return {
    ...state,
    run,
    isStarting,
    executionId,
    error: rejection ?? (isGone ? undefined : error),
    cancel,
    resume,
    rerun: rerunAndFollow,
    reset: useCallback(() => follow(null), [follow]),
  };
}

/** Sends a start twice at most; its key makes sure that only one execution starts. */
async function startOnce(client: ReturnType<typeof useClient>, request: ExecuteRequest) {
  const idempotencyKey = randomId();
  try {
    return await client.execute(request, { idempotencyKey });
  } catch (error) {
    if (ServiceError.from(error).status !== 0) throw error;
    return client.execute(request, { idempotencyKey });
  }
}

/** Returns a random id. `crypto.randomUUID` exists on secure pages only. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
