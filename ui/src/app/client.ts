import { QueryClient } from "@tanstack/react-query";
import { ServiceError, WorkflowClient } from "workflow-orchestration-client";

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
  submit(key: string): void {
    sessionStorage.setItem(STORAGE_KEY, key);
    isAsking = false;
    question = undefined;
    answer?.(key);
    notify();
  },
  forget(): void {
    sessionStorage.removeItem(STORAGE_KEY);
    location.reload();
  },
  hasKey: () => sessionStorage.getItem(STORAGE_KEY) !== null,
};

export const client = new WorkflowClient({ token: currentKey });

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => ServiceError.from(error).isTemporary && count < 2,
    },
  },
});
