import { QueryClient } from "@tanstack/react-query";
import { expect, test } from "vitest";
import { WorkflowClient } from "../src/index.js";
import { executionQuery, executionsQuery, nodeLogQuery } from "../src/query.js";
import { json, log, page, startService, state } from "./support/service.js";

test("a finished execution is requested once, an active one again", async () => {
  const service = await startService(({ path }, response) =>
    json(response, state(1, path.endsWith("done") ? "completed" : "running")),
  );
  const client = new WorkflowClient({ baseUrl: service.url });
  const queries = new QueryClient();
  for (const id of ["done", "done", "live", "live"])
    await queries.fetchQuery(executionQuery(client, id));
  expect(service.calls.map(({ path }) => path.split("/").at(-1))).toEqual(["done", "live", "live"]);
});

test("the log of a node is requested with its payloads", async () => {
  const service = await startService((_call, response) => json(response, page(1, [log("a")])));
  const client = new WorkflowClient({ baseUrl: service.url });
  const result = await new QueryClient().fetchQuery(nodeLogQuery(client, "e", "a"));
  expect(result?.nodeId).toBe("a");
  expect(service.calls[0]?.query.toString()).toBe("nodeId=a");
});

test("pages continue with the cursor", async () => {
  const service = await startService(({ query }, response) =>
    json(response, { executions: [], nextCursor: query.has("cursor") ? null : "c" }),
  );
  const client = new WorkflowClient({ baseUrl: service.url });
  const result = await new QueryClient().fetchInfiniteQuery({
    ...executionsQuery(client, { workflowId: "w" }),
    pages: 3,
  });
  expect(result.pages).toHaveLength(2);
  expect(service.calls.map(({ query }) => query.toString())).toEqual([
    "workflowId=w",
    "workflowId=w&cursor=c",
  ]);
});
