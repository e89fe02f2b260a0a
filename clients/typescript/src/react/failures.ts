import { useCallback, useEffect, useMemo, useState } from "react";
import { ServiceError } from "../errors.js";
import type { BulkProgress, FailureFilter, FailureGroup } from "../types.js";
import { useClient } from "./context.js";
import { LiveReader, type LiveState, LOADING } from "./live.js";

export interface UseFailuresResult extends LiveState {
  failures: readonly FailureGroup[];
  /** Groups that came after the list was read; `showNew` adds them, and sorts the list again. */
  newCount: number;
  showNew: () => void;
  /** Reads the list again, for example after a bulk operation. */
  refresh: () => Promise<void>;
}

interface State extends LiveState {
  /** In the order in which they are shown. */
  failures: readonly FailureGroup[];
  newCount: number;
}

const INITIAL: State = { ...LOADING, failures: [], newCount: 0 };

/** Keeps the places of the groups, although the latest failure is first in the list. */
function inPlace(before: readonly FailureGroup[], found: FailureGroup[]): Partial<State> {
  const fresh = new Map(found.map((group) => [group.fingerprint, group]));
  const kept = before.flatMap(({ fingerprint }) => fresh.get(fingerprint) ?? []);
  return kept.length === 0
    ? { failures: found, newCount: 0 }
    : { failures: kept, newCount: found.length - kept.length };
}

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
      receive: ({ failures }) =>
        setState((before) => ({ ...before, ...inPlace(before.failures, failures) })),
      publish: (change) => setState((before) => ({ ...before, ...change })),
    });
  }, [client, key]);
  useEffect(() => {
    setState(INITIAL);
    return reader.start();
  }, [reader]);
  const showNew = useCallback(() => {
    setState((before) => ({ ...before, failures: [] }));
    void reader.refresh();
  }, [reader]);
  return { ...state, showNew, refresh: reader.refresh };
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
