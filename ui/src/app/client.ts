import { QueryClient } from "@tanstack/react-query";
import {
  type Following,
  type FollowOptions,
  ServiceError,
  WorkflowClient,
} from "workflow-orchestration-client";

const STORAGE_KEY = "workflow-api-key";
const listeners = new Set<() => void>();
let isAsking = false;
let answer: ((key: string) => void) | undefined;
let question: Promise<string> | undefined;
/** Whether this page has used its key, or no key: the client calls again only after a 401. */
let isUsed = false;

/** Returns the key of this session; after a 401, the one that the user enters. */
function currentKey(): string | null | Promise<string> {
  if (!isUsed) {
    isUsed = true;
    return sessionStorage.getItem(STORAGE_KEY);
  }
  question ??= new Promise<string>((resolve) => {
    answer = resolve;
    isAsking = true;
    notify();
  });
  return question;
}

function notify(): void {
  for (const listener of listeners) listener();
}

export const keyDialog = {
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  isOpen: () => isAsking,
  /** Takes a key; returns false if the service rejects it. */
  async submit(key: string): Promise<boolean> {
    try {
      await new WorkflowClient({ token: key }).listExecutions({ limit: 1 });
    } catch (error) {
      if (ServiceError.from(error).status === 401) return false;
    }
    sessionStorage.setItem(STORAGE_KEY, key);
    isAsking = false;
    question = undefined;
    answer?.(key);
    notify();
    return true;
  },
  forget(): void {
    sessionStorage.removeItem(STORAGE_KEY);
    location.reload();
  },
  hasKey: () => sessionStorage.getItem(STORAGE_KEY) !== null,
};

/** Follows executions with tokens for them alone, because a stream stays open for a long time. */
class PageClient extends WorkflowClient {
  override follow(id: string, options?: FollowOptions): Following {
    let isFirst = true;
    // Without a key, the first request shows whether the service requires one.
    const token = () => {
      const isOpen = isFirst && !keyDialog.hasKey();
      isFirst = false;
      return isOpen ? null : this.createToken(id);
    };
    return new WorkflowClient({ ...this.options, token }).follow(id, options);
  }
}

export const client = new PageClient({ token: currentKey });

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => ServiceError.from(error).isTemporary && count < 2,
    },
  },
});
