import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { ConnectionState } from "../connection.js";
import { ServiceError } from "../errors.js";
import type { NodeLog, RerunRequest, ResumeRequest } from "../types.js";
import type { ExecutionView } from "../view.js";
import { IDLE, type WatchSnapshot } from "../watch.js";
import { useClient } from "./context.js";

const subscribeToNothing = () => () => undefined;
const idle = () => IDLE;

/** Returns a part of the live snapshot; the component renders again only if that part changes. */
export function useWatch<Part>(
  executionId: string | null | undefined,
  select: (snapshot: WatchSnapshot) => Part,
  isEqual: (a: Part, b: Part) => boolean = Object.is,
): Part {
  const client = useClient();
  const watch = useMemo(
    () => (executionId ? client.watch(executionId) : undefined),
    [client, executionId],
  );
  const last = useRef<{ part: Part } | undefined>(undefined);
  const read = (snapshot: WatchSnapshot): Part => {
    const part = select(snapshot);
    if (last.current && isEqual(last.current.part, part)) return last.current.part;
    last.current = { part };
    return part;
  };
  const getSnapshot = watch?.getSnapshot ?? idle;
  return useSyncExternalStore(
    watch?.subscribe ?? subscribeToNothing,
    () => read(getSnapshot()),
    () => read(IDLE),
  );
}

export interface ExecutionActions {
  /** Requests the cancellation. */
  cancel: () => Promise<void>;
  /** Runs it again as a new execution and returns its id. */
  rerun: (request?: RerunRequest) => Promise<string>;
  /** Resumes a waiting node, such as an approval. */
  resume: (nodeId: string, request?: ResumeRequest) => Promise<void>;
}

/** Returns the actions of an execution. They reject with a `ServiceError`. */
export function useExecutionActions(executionId: string | null | undefined): ExecutionActions {
  const client = useClient();
  return useMemo(() => {
    const id = () => {
      if (executionId) return executionId;
      throw new ServiceError(0, "There is no execution yet");
    };
    return {
      cancel: async () => void (await client.cancel(id())),
      rerun: async (request) => (await client.rerun(id(), request)).executionId,
      resume: async (nodeId, request) => void (await client.resume(id(), nodeId, request)),
    };
  }, [client, executionId]);
}

export interface UseExecutionOptions<Part> {
  /** Returns the part of the execution that the component shows. */
  select?: (execution: ExecutionView | undefined) => Part;
  /** Whether two parts are equal; `Object.is` by default. */
  isEqual?: (a: Part, b: Part) => boolean;
}

export interface UseExecutionResult<Part> extends ExecutionActions {
  execution: Part;
  connection: ConnectionState;
  error: ServiceError | undefined;
  /** Connects again after an error. */
  retry: () => void;
}

/** Follows an execution. All components that use the same id share one connection. */
export function useExecution<Part = ExecutionView | undefined>(
  executionId: string | null | undefined,
  options: UseExecutionOptions<Part> = {},
): UseExecutionResult<Part> {
  const client = useClient();
  const { select, isEqual } = options;
  const execution = useWatch(
    executionId,
    (snapshot) => (select ? select(snapshot.execution) : (snapshot.execution as Part)),
    isEqual,
  );
  const connection = useWatch(executionId, (snapshot) => snapshot.connection);
  const error = useWatch(executionId, (snapshot) => snapshot.error);
  const actions = useExecutionActions(executionId);
  const retry = useCallback(() => {
    if (executionId) client.watch(executionId).retry();
  }, [client, executionId]);
  return { execution, connection, error, retry, ...actions };
}

export interface NodeOutput {
  /** Text that has arrived so far, such as the tokens of a model. */
  text: string;
  /** Whether the node is running. */
  isStreaming: boolean;
  /** The log of the node with whole payloads, as soon as the node has ended. */
  log: NodeLog | undefined;
}

export interface UseNodeOutputOptions {
  /** Whether the log is read; `true` by default. */
  log?: boolean;
}

/** Streams the output of one node while it runs, and reads its whole log when it has ended. */
export function useNodeOutput(
  executionId: string | null | undefined,
  nodeId: string,
  { log: isLogWanted = true }: UseNodeOutputOptions = {},
): NodeOutput {
  const client = useClient();
  const text = useWatch(executionId, ({ output }) => output.get(nodeId) ?? "");
  const current = useWatch(executionId, ({ execution }) => execution?.nodes.get(nodeId));
  const [log, setLog] = useState<NodeLog>();
  const status = current?.status;
  const seq = current?.seq;
  const hasEnded = status !== undefined && status !== "running" && status !== "waiting";

  useEffect(() => {
    setLog(undefined);
    if (!isLogWanted || !executionId || !hasEnded || seq === undefined) return;
    const abort = new AbortController();
    client.getLogs(executionId, { nodeId }, { signal: abort.signal }).then(
      ({ logs }) => {
        if (!abort.signal.aborted) setLog(logs[0]);
      },
      () => undefined,
    );
    return () => abort.abort();
  }, [client, executionId, nodeId, hasEnded, seq, isLogWanted]);

  const response = (log?.outputData as { response?: unknown } | null | undefined)?.response;
  return {
    text: typeof response === "string" ? response : text,
    isStreaming: status === "running",
    log,
  };
}
