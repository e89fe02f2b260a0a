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
