import "./support/page.js";
import { act, cleanup, renderHook, waitFor } from "@testing-library/react";
import { type ReactNode, StrictMode } from "react";
import { afterEach, expect, test } from "vitest";
import { WorkflowClient } from "../src/index.js";
import { useBulk, useFailures, useTasks, WorkflowProvider } from "../src/react/index.js";
import {
  end,
  type FakeService,
  json,
  log,
  message,
  openStream,
  problem,
  send,
  startService,
} from "./support/service.js";

afterEach(cleanup);

function wrapper(url: string) {
  const client = new WorkflowClient({ baseUrl: url });
  return ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <WorkflowProvider client={client}>{children}</WorkflowProvider>
    </StrictMode>
  );
}

const task = (minute: number) => ({
  id: `t${minute}`,
  executionId: `e${minute}`,
  status: "open",
  createdAt: `2026-11-23T10:0${minute}:00.000Z`,
});

/** Serves pages of the rows that `rows` returns, and the events that a test sends. */
async function startLists(
  rows: () => object[],
): Promise<{ service: FakeService; emit: (...messages: object[]) => Promise<void> }> {
  const streams: Parameters<typeof openStream>[0][] = [];
  const service = await startService((call, response) => {
    if (call.path === "/api/events") {
      openStream(response);
      streams.push(response);
      return;
    }
    if (call.path === "/api/failures") return json(response, { failures: rows() });
    const from = Number(call.query.get("cursor") ?? 0);
    const to = from + Number(call.query.get("limit"));
    json(response, {
      tasks: rows().slice(from, to),
      nextCursor: to < rows().length ? String(to) : null,
    });
  });
  const emit = async (...messages: object[]) => {
    await waitFor(() => expect(streams.length).toBeGreaterThan(0));
    await act(async () => send(streams.at(-1) as never, ...(messages as never[])));
  };
  return { service, emit };
}

test("useTasks keeps the places of its rows while tasks come and go", async () => {
  let minutes = [4, 3, 2, 1];
  const { service, emit } = await startLists(() => minutes.map(task));
  const filter = { assignee: "ada", status: ["open" as const], limit: 2 };
  const { result } = renderHook(() => useTasks(filter), { wrapper: wrapper(service.url) });
  const ids = () => result.current.tasks.map(({ id }) => id);
  await waitFor(() => expect(ids()).toEqual(["t4", "t3"]));
  expect(result.current).toMatchObject({ hasMore: true, newCount: 0 });
  await waitFor(() => expect(result.current.connection).toBe("open"));
  await act(() => result.current.loadMore());
  expect(ids()).toEqual(["t4", "t3", "t2", "t1"]);
  expect(result.current.hasMore).toBe(false);

  minutes = [5, 4, 2, 1];
  await emit(message(3, { executionId: "new", logs: [log("ask", { status: "waiting" })] }));
  await waitFor(() => expect(result.current.newCount).toBe(1), { timeout: 5_000 });
  expect(result.current.tasks.map(({ id, hasLeft }) => [id, hasLeft])).toEqual([
    ["t4", false],
    ["t3", true],
    ["t2", false],
    ["t1", false],
  ]);
  act(() => result.current.showNew());
  await waitFor(() => expect(ids()).toEqual(["t5", "t4", "t2", "t1"]));

  minutes = [5, 4, 2];
  await emit(end(9, { executionId: "e1" }));
  await waitFor(() => expect(result.current.tasks.at(-1)?.hasLeft).toBe(true), { timeout: 5_000 });
  const { query } = service.callsOf("/tasks")[0] as { query: URLSearchParams };
  expect(query.toString()).toBe("assignee=ada&status=open&limit=2");
});

test("useFailures reads the groups again after a failure, and returns errors", async () => {
  let groups = [{ fingerprint: "f", count: 1 }];
  const { service, emit } = await startLists(() => groups);
  const { result } = renderHook(() => useFailures({ workflowId: "w" }), {
    wrapper: wrapper(service.url),
  });
  await waitFor(() => expect(result.current.failures).toEqual([{ fingerprint: "f", count: 1 }]));
  groups = [
    { fingerprint: "new", count: 1 },
    { fingerprint: "f", count: 2 },
  ];
  await emit(end(4, { type: "execution_error", status: "failed" }));
  await waitFor(() => expect(result.current.failures[0]?.count).toBe(2), { timeout: 5_000 });
  expect(result.current).toMatchObject({ newCount: 1, failures: [{ fingerprint: "f" }] });
  act(() => result.current.showNew());
  await waitFor(() => expect(result.current.failures).toEqual(groups), { timeout: 5_000 });
  service.respondWith((_call, response) => problem(response, 403, "not yours"));
  await act(() => result.current.refresh());
  expect(result.current.error?.status).toBe(403);
  expect(result.current.failures).toHaveLength(2);
});

test("useBulk shows the progress of an operation until its end", async () => {
  let processed = 0;
  const service = await startService(({ path }, response) => {
    if (path.endsWith("/unknown")) return problem(response, 404, "unknown");
    processed += 2;
    json(response, { bulkId: "b", processed, status: processed < 4 ? "running" : "completed" });
  });
  const { result, rerender } = renderHook(({ id }) => useBulk(id), {
    wrapper: wrapper(service.url),
    initialProps: { id: undefined as string | undefined },
  });
  expect(result.current).toEqual({ progress: undefined, error: undefined });
  rerender({ id: "b" });
  await waitFor(() => expect(result.current.progress?.status).toBe("completed"), {
    timeout: 5_000,
  });
  rerender({ id: "unknown" });
  await waitFor(() => expect(result.current.error?.status).toBe(404));
  expect(result.current.progress).toBeUndefined();
});
