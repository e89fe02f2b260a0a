import { useEffect, useMemo, useState } from "react";
import { ServiceError } from "../errors.js";
import type { BulkProgress, FailureFilter, FailureGroup } from "../types.js";
import { useClient } from "./context.js";
import { LiveReader, type LiveState, LOADING } from "./live.js";

export interface UseFailuresResult extends LiveState {
  failures: readonly FailureGroup[];
  /** Reads the list again, for example after a bulk operation. */
  refresh: () => Promise<void>;
}

const INITIAL: LiveState & { failures: readonly FailureGroup[] } = { ...LOADING, failures: [] };

/** Lists failed executions in groups with the same error, and keeps the groups current. */
export function useFailures(filter: FailureFilter = {}): UseFailuresResult {
  const client = useClient();
  const key = JSON.stringify(filter);
  const [state, setState] = useState(INITIAL);
  const reader = useMemo(() => {
    const wanted: FailureFilter = JSON.parse(key);
    return new LiveReader(client, {
      organizationId: wanted.organizationId,
      read: (signal) => client.listFailures(wanted, { signal }),
      isRelevant: ({ type, deleted }) => type === "execution_error" || deleted === true,
      receive: ({ failures }) => setState((before) => ({ ...before, failures })),
      publish: (change) => setState((before) => ({ ...before, ...change })),
    });
  }, [client, key]);
  useEffect(() => {
    setState(INITIAL);
    return reader.start();
  }, [reader]);
  return { ...state, refresh: reader.refresh };
}

export interface UseBulkResult {
  progress: BulkProgress | undefined;
  error: ServiceError | undefined;
}

/** Follows a bulk operation until it is completed. */
export function useBulk(bulkId: string | null | undefined): UseBulkResult {
  const client = useClient();
  const [state, setState] = useState<UseBulkResult>({ progress: undefined, error: undefined });
  useEffect(() => {
    setState({ progress: undefined, error: undefined });
    if (!bulkId) return;
    const abort = new AbortController();
    const follow = async () => {
      for await (const progress of client.followBulk(bulkId, { signal: abort.signal }))
        if (!abort.signal.aborted) setState({ progress, error: undefined });
    };
    follow().catch((error) => {
      if (!abort.signal.aborted)
        setState((before) => ({ ...before, error: ServiceError.from(error) }));
    });
    return () => abort.abort();
  }, [client, bulkId]);
  return state;
}
