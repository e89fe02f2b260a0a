import "./support/page.js";
import { act, cleanup, render, renderHook, screen, waitFor } from "@testing-library/react";
import { type ReactNode, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ExecutionView, WorkflowClient } from "../src/index.js";
import {
  useExecution,
  useExecutions,
  useNodeOutput,
  useNodeTypes,
  useWorkflow,
  WorkflowProvider,
} from "../src/react/index.js";
import {
  end,
  json,
  log,
  message,
  openStream,
  page,
  problem,
  send,
  startService,
  state,
} from "./support/service.js";

beforeEach(() => localStorage.clear());
afterEach(cleanup);

function wrapper(url: string, isStrict = true) {
  const client = new WorkflowClient({
    baseUrl: url,
    connection: { timing: { backoffMs: 5, pollMs: 5 } },
  });
  return ({ children }: { children: ReactNode }) => {
    const content = <WorkflowProvider client={client}>{children}</WorkflowProvider>;
    return isStrict ? <StrictMode>{content}</StrictMode> : content;
  };
}

/** A service with one running execution; the test sends its further events. */
async function startRunning() {
  const streams: Parameters<typeof openStream>[0][] = [];
  const service = await startService((call, response) => {
    if (call.path === "/api/workflows/execute") return json(response, { executionId: "e" });
    if (call.path.endsWith("/stream")) {
      openStream(response);
      streams.push(response);
      return;
    }
    if (call.path.endsWith("/logs"))
      return json(response, page(1, [log("a", { status: "running", seq: 1 })]));
    if (call.path.endsWith("/executions/e")) return json(response, state(1));
    return problem(response, 404, "unknown");
  });
  const emit = async (...messages: object[]) => {
    await waitFor(() => expect(streams.length).toBeGreaterThan(0));
    await act(async () => send(streams.at(-1) as never, ...(messages as never[])));
  };
  return { service, emit, streams };
}

test("useWorkflow starts and follows in one, also in strict mode", async () => {
  const { service, emit } = await startRunning();
  const { result } = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  expect(result.current).toMatchObject({
    executionId: null,
    connection: "idle",
    isStarting: false,
  });
  await act(async () => void (await result.current.run({ city: "Lima" })));
  await waitFor(() => expect(result.current.execution?.active).toBe(true));
  await emit(end(2));
  await waitFor(() => expect(result.current.connection).toBe("closed"));
  expect(result.current.execution).toMatchObject({
    status: "completed",
    active: false,
    finalOutput: { ok: true },
  });
  expect(service.callsOf("/execute")).toHaveLength(1);
  expect(service.callsOf("/execute")[0]?.body).toEqual({
    workflowId: "w",
    inputs: { city: "Lima" },
  });
  expect(service.callsOf("/stream")).toHaveLength(1);
});

test("useWorkflow finds its execution again after a reload", async () => {
  const { service } = await startRunning();
  const first = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  await act(async () => void (await first.result.current.run()));
  await waitFor(() => expect(first.result.current.execution?.seq).toBe(1));
  first.unmount();
  const second = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  await waitFor(() => expect(second.result.current.execution?.status).toBe("running"));
  expect(second.result.current.executionId).toBe("e");
  act(() => second.result.current.reset());
  expect(second.result.current).toMatchObject({ executionId: null, execution: undefined });
  expect(
    renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) }).result.current
      .executionId,
  ).toBeNull();
});

test("useWorkflow forgets an execution that no longer exists", async () => {
  localStorage.setItem("workflow-execution:w", "gone");
  const { service } = await startRunning();
  const { result } = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  await waitFor(() => expect(service.callsOf("/executions/gone").length).toBeGreaterThan(0));
  await waitFor(() => expect(localStorage.getItem("workflow-execution:w")).toBeNull());
  await waitFor(() =>
    expect(result.current).toMatchObject({ executionId: null, error: undefined }),
  );
});

test("useWorkflow shows the problems of a rejected start", async () => {
  const errors = [{ code: "unknown_node", detail: "no such node", pointer: "/inputs/x" }];
  const service = await startService((_call, response) =>
    json(response, { status: 422, detail: "invalid", errors }, 422),
  );
  const { result } = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  await act(async () => void (await result.current.run({ x: 1 })));
  expect(result.current.error?.problems).toEqual(errors);
  expect(result.current.isStarting).toBe(false);
});

test("a start whose response is lost is repeated with the same key", async () => {
  let calls = 0;
  const service = await startService((call, response) => {
    if (call.path !== "/api/workflows/execute") return problem(response, 404, "unknown");
    calls += 1;
    return calls === 1 ? void response.destroy() : json(response, { executionId: "e" });
  });
  const { result } = renderHook(() => useWorkflow("w"), { wrapper: wrapper(service.url) });
  await act(async () => void expect(await result.current.run()).toBe("e"));
  const keys = service.callsOf("/execute").map(({ headers }) => headers["idempotency-key"]);
  expect(keys).toHaveLength(2);
  expect(keys[0]).toBe(keys[1]);
});

test("a component renders only when the selected part changes", async () => {
  const { service, emit } = await startRunning();
  let renders = 0;
  const select = (execution: ExecutionView | undefined) => execution?.status;
  const useStatus = () => {
    renders += 1;
    return useExecution("e", { select }).execution;
  };
  const { result } = renderHook(useStatus, { wrapper: wrapper(service.url, false) });
  await waitFor(() => expect(result.current).toBe("running"));
  await emit(message(2));
  const before = renders;
  await emit(message(3), message(4));
  await emit(end(5));
  await waitFor(() => expect(result.current).toBe("completed"));
  // Two changes: the status and the connection.
  expect(renders - before).toBeLessThanOrEqual(2);
});

test("many components of one execution share one connection", async () => {
  const { service, emit } = await startRunning();
  const Status = () => <p>{useExecution("e").execution?.status ?? "none"}</p>;
  render(
    <>
      <Status />
      <Status />
      <Status />
    </>,
    { wrapper: wrapper(service.url) },
  );
  await waitFor(() => expect(screen.getAllByText("running")).toHaveLength(3));
  await emit(end(2));
  await waitFor(() => expect(screen.getAllByText("completed")).toHaveLength(3));
  expect(service.callsOf("/stream")).toHaveLength(1);
});

test("hooks render on a server without a request", async () => {
  const service = await startService((_call, response) => json(response, {}));
  const Page = () => {
    const { execution, connection } = useWorkflow("w");
    const list = useExecutions();
    const { text } = useNodeOutput("e", "m");
    return <p>{[execution?.status ?? "none", connection, list.isLoading, text].join(" ")}</p>;
  };
  const Wrapper = wrapper(service.url);
  expect(
    renderToString(
      <Wrapper>
        <Page />
      </Wrapper>,
    ),
  ).toBe("<p>none idle true </p>");
  expect(service.calls).toHaveLength(0);
});

test("useNodeOutput shows tokens as they arrive, and the log of the node at its end", async () => {
  const delta = { type: "node_output_delta", executionId: "e", nodeId: "a", attempt: 1 };
  const { service, emit } = await startRunning();
  const { result } = renderHook(() => useNodeOutput("e", "a"), { wrapper: wrapper(service.url) });
  await waitFor(() => expect(result.current.isStreaming).toBe(true));
  await emit({ ...delta, delta: "Hel" }, { ...delta, delta: "lo" });
  await waitFor(() => expect(result.current.text).toBe("Hello"));
  await emit({ ...delta, attempt: 2, delta: "Good" });
  await waitFor(() => expect(result.current.text).toBe("Good"));
  service.respondWith((call, response) => {
    expect(call.query.get("nodeId")).toBe("a");
    json(response, page(2, [log("a", { seq: 2, outputData: { response: "Goodbye" } })]));
  });
  await emit(message(2, { logs: [log("a", { seq: 2 })] }));
  await waitFor(() => expect(result.current.text).toBe("Goodbye"));
  expect(result.current.isStreaming).toBe(false);
});

const row = (id: string, more = {}) => ({
  id,
  workflowId: "w",
  workflowName: "W",
  status: "running",
  createdAt: "2026-11-23T10:00:00.000Z",
  startedAt: null,
  completedAt: null,
  error: null,
  organizationId: null,
  triggerType: "manual",
  rerunOf: null,
  parentExecutionId: null,
  ...more,
});

test("useExecutions follows a page of many executions on one connection", async () => {
  let stream: Parameters<typeof openStream>[0] | undefined;
  const service = await startService((call, response) => {
    if (call.path === "/api/events") {
      openStream(response);
      stream = response;
      return;
    }
    const isSecond = call.query.get("cursor") === "c";
    json(response, {
      executions: isSecond ? [row("x")] : [row("e"), row("f")],
      nextCursor: isSecond ? null : "c",
    });
  });
  const { result } = renderHook(() => useExecutions({ status: ["running"] }), {
    wrapper: wrapper(service.url),
  });
  await waitFor(() => expect(result.current.executions.map(({ id }) => id)).toEqual(["e", "f"]));
  await act(() => result.current.loadMore());
  expect(result.current).toMatchObject({ hasMore: false });
  await waitFor(() => expect(result.current.connection).toBe("open"));
  await act(async () =>
    send(
      stream as never,
      end(9, { executionId: "f" }),
      message(1, { executionId: "new" }),
      message(1, { executionId: "done", status: "failed" }),
    ),
  );
  await waitFor(() => expect(result.current.newCount).toBe(1));
  expect(result.current.executions.map(({ id, status }) => [id, status])).toEqual([
    ["e", "running"],
    ["f", "completed"],
    ["x", "running"],
  ]);
  act(() => result.current.showNew());
  await waitFor(() => expect(result.current.newCount).toBe(0));
});

test("useExecutions and useNodeTypes return the error of the service", async () => {
  const service = await startService((_call, response) => problem(response, 403, "not yours"));
  const { result } = renderHook(() => ({ list: useExecutions(), types: useNodeTypes() }), {
    wrapper: wrapper(service.url),
  });
  await waitFor(() => expect(result.current.list.error?.status).toBe(403));
  await waitFor(() =>
    expect(result.current.types).toMatchObject({ isLoading: false, error: { status: 403 } }),
  );
});
