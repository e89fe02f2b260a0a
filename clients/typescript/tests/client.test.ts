import { expect, test } from "vitest";
import { ServiceError, WorkflowClient } from "../src/index.js";
import { json, problem, startService } from "./support/service.js";

test("sends the body, the key and the idempotency key", async () => {
  const service = await startService((_call, response) => json(response, { executionId: "e" }));
  const client = new WorkflowClient({
    baseUrl: `${service.url}/`,
    token: "key",
    headers: { "X-Trace": "t" },
  });
  const response = await client.execute(
    { workflowId: "w", inputs: { a: 1 } },
    { idempotencyKey: "k" },
  );
  expect(response.executionId).toBe("e");
  expect(service.calls[0]).toMatchObject({
    method: "POST",
    path: "/api/workflows/execute",
    headers: { authorization: "Bearer key", "idempotency-key": "k", "x-trace": "t" },
    body: { workflowId: "w", inputs: { a: 1 } },
  });
});

test("encodes ids in paths and joins lists in queries", async () => {
  const service = await startService((_call, response) => json(response, { executions: [] }));
  const client = new WorkflowClient({ baseUrl: service.url });
  await client.getExecution("a b?c%");
  await client.listExecutions({ status: ["failed", "waiting"], workflowId: undefined, limit: 5 });
  expect(service.calls[0]?.path).toBe("/api/executions/a%20b%3Fc%25");
  expect(service.calls[1]?.query.toString()).toBe("status=failed%2Cwaiting&limit=5");
});

test("throws the problem of the service with its errors", async () => {
  const errors = [
    {
      code: "invalid_config",
      detail: "'prompt' is required",
      pointer: "/graph/nodes/0",
      nodeId: "a",
    },
  ];
  const service = await startService((_call, response) =>
    json(response, { status: 422, detail: "The document cannot run", errors }, 422),
  );
  const call = new WorkflowClient({ baseUrl: service.url }).execute({ graph: {} });
  const error = await call.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ServiceError);
  expect(error).toMatchObject({
    status: 422,
    detail: "The document cannot run",
    problems: errors,
    isTemporary: false,
  });
});

test("throws an error with status 0 if nothing answers", async () => {
  const client = new WorkflowClient({ baseUrl: "http://127.0.0.1:1" });
  await expect(client.nodeTypes()).rejects.toMatchObject({
    name: "ServiceError",
    status: 0,
    isTemporary: true,
  });
});

test("throws a ServiceError for a success that is not JSON", async () => {
  const service = await startService((_call, response) => void response.end("<html>"));
  await expect(new WorkflowClient({ baseUrl: service.url }).nodeTypes()).rejects.toMatchObject({
    status: 0,
  });
});

test("requests a new token once for concurrent calls after a 401, and repeats the calls", async () => {
  const service = await startService(({ headers }, response) =>
    headers.authorization === "Bearer t2" ? json(response, []) : problem(response, 401, "expired"),
  );
  let count = 0;
  const token = async () => `t${++count}`;
  const client = new WorkflowClient({ baseUrl: service.url, token });
  await Promise.all([client.nodeTypes(), client.nodeTypes(), client.nodeTypes()]);
  expect(count).toBe(2);
});

test("requests a new token before the old one expires", async () => {
  const service = await startService((_call, response) => json(response, []));
  let count = 0;
  const token = () => ({
    token: `t${++count}`,
    expiresAt: Date.now() + (count === 1 ? 10_000 : 600_000),
  });
  const client = new WorkflowClient({ baseUrl: service.url, token });
  await client.nodeTypes();
  await client.nodeTypes();
  await client.nodeTypes();
  expect(service.calls.map(({ headers }) => headers.authorization)).toEqual([
    "Bearer t1",
    "Bearer t2",
    "Bearer t2",
  ]);
});

test("a rejected token is requested only once more", async () => {
  const service = await startService((_call, response) => problem(response, 401, "no"));
  const client = new WorkflowClient({ baseUrl: service.url, token: () => "same" });
  await expect(client.nodeTypes()).rejects.toMatchObject({ status: 401 });
  expect(service.calls).toHaveLength(1);
});

test("a client for one execution uses tokens of that execution", async () => {
  const service = await startService(({ path }, response) =>
    path.endsWith("/token")
      ? json(response, { token: "scoped", expiresAt: "2999-01-01T00:00:00Z" })
      : json(response, {}),
  );
  const client = new WorkflowClient({ baseUrl: service.url, token: "key" }).forExecution("e");
  await client.getExecution("e");
  expect(service.calls.map(({ path, headers }) => [path, headers.authorization])).toEqual([
    ["/api/executions/e/token", "Bearer key"],
    ["/api/executions/e", "Bearer scoped"],
  ]);
});

test("calls the routes of tasks, events, failures, bulk operations and schedules", async () => {
  const service = await startService(({ path }, response) =>
    json(response, path.endsWith("/bulk") ? { bulkId: "b", matched: 7 } : {}),
  );
  const client = new WorkflowClient({ baseUrl: service.url });
  const rerun = { action: "rerun", filter: { failure: "f" }, definition: "current" } as const;
  await client.listTasks({ assignee: "ada", status: ["open", "expired"] });
  await client.getTask("t/1");
  await client.completeTask("t/1", { approved: false, data: { note: "no" }, assignee: "ada" });
  await client.createTaskLink("t/1", { assignee: "ada" });
  await client.listKeptEvents({ organizationId: "o", limit: 2 });
  await client.deleteKeptEvent("e/1");
  await client.listFailures({ workflowId: "w" });
  expect(await client.countBulk(rerun)).toBe(7);
  expect(await client.startBulk(rerun, { idempotencyKey: "k" })).toMatchObject({ bulkId: "b" });
  await client.getBulk("b", { itemStatus: "failed" });
  await client.listSchedules({ limit: 2 });
  await client.getSchedule("s", { next: 3 });
  await client.pauseSchedule("s");
  await client.resumeSchedule("s");
  await client.backfillSchedule("s", { from: "2026-01-01T00:00:00Z" });
  expect(
    service.calls.map(({ method, path, query, body }) => [method, path, `${query}`, body]),
  ).toEqual([
    ["GET", "/api/tasks", "assignee=ada&status=open%2Cexpired", undefined],
    ["GET", "/api/tasks/t%2F1", "", undefined],
    [
      "POST",
      "/api/tasks/t%2F1/complete",
      "",
      { approved: false, data: { note: "no" }, assignee: "ada" },
    ],
    ["POST", "/api/tasks/t%2F1/links", "", { assignee: "ada" }],
    ["GET", "/api/events/kept", "organizationId=o&limit=2", undefined],
    ["DELETE", "/api/events/kept/e%2F1", "", undefined],
    ["GET", "/api/failures", "workflowId=w", undefined],
    ["POST", "/api/executions/bulk", "", { ...rerun, dryRun: true }],
    ["POST", "/api/executions/bulk", "", rerun],
    ["GET", "/api/bulk/b", "itemStatus=failed", undefined],
    ["GET", "/api/schedules", "limit=2", undefined],
    ["GET", "/api/schedules/s", "next=3", undefined],
    ["POST", "/api/schedules/s/pause", "", undefined],
    ["POST", "/api/schedules/s/resume", "", undefined],
    ["POST", "/api/schedules/s/backfill", "", { from: "2026-01-01T00:00:00Z" }],
  ]);
  expect(service.calls.map(({ headers }) => headers["idempotency-key"]).filter(Boolean)).toEqual([
    "k",
  ]);
});

const bulk = (processed: number) => ({
  bulkId: "b",
  matched: 4,
  processed,
  status: processed === 4 ? "completed" : "running",
});

test("follows a bulk operation to its end, through a restart of the service", async () => {
  const responses = [() => bulk(1), () => 503, () => bulk(3), () => bulk(4)];
  const service = await startService((_call, response) => {
    const next = responses.shift()?.();
    if (typeof next === "number") problem(response, next, "starting");
    else json(response, next);
  });
  const client = new WorkflowClient({ baseUrl: service.url });
  const seen: number[] = [];
  for await (const { processed } of client.followBulk("b", { intervalMs: 1 })) seen.push(processed);
  expect(seen).toEqual([1, 3, 4]);
  service.respondWith((_call, response) => problem(response, 404, "unknown"));
  await expect(client.followBulk("b").next()).rejects.toMatchObject({ status: 404 });
});

test("stops to follow a bulk operation when it is aborted", async () => {
  const service = await startService((_call, response) => json(response, bulk(1)));
  const abort = new AbortController();
  const client = new WorkflowClient({ baseUrl: service.url });
  const progress = client.followBulk("b", { signal: abort.signal, intervalMs: 600_000 });
  expect((await progress.next()).value).toMatchObject({ processed: 1 });
  const end = progress.next();
  abort.abort();
  expect(await end).toEqual({ done: true, value: undefined });
  expect(service.calls).toHaveLength(1);
});
