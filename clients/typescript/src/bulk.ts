import type { WorkflowClient } from "./client.js";
import { ServiceError } from "./errors.js";
import type { BulkProgress } from "./types.js";

export interface BulkOptions {
  signal?: AbortSignal;
  /** Pause between two requests, in milliseconds; 1,000 by default. */
  intervalMs?: number;
}

/** Yields the progress of a bulk operation until it is completed, also while the service restarts. */
export async function* followBulk(
  client: WorkflowClient,
  id: string,
  { signal, intervalMs = 1_000 }: BulkOptions = {},
): AsyncGenerator<BulkProgress, void> {
  while (!signal?.aborted) {
    let pauseMs = intervalMs;
    try {
      const progress = await client.getBulk(id, { limit: 1 }, { signal });
      yield progress;
      if (progress.status === "completed") return;
    } catch (thrown) {
      const error = ServiceError.from(thrown);
      if (signal?.aborted) return;
      if (!error.isTemporary) throw error;
      pauseMs = Math.max(pauseMs, (error.retryAfter ?? 0) * 1_000);
    }
    await pause(pauseMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}
