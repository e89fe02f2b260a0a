import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { graph, node } from "./documents";
import { hasNoBrowser, type Service, startService, Visitor } from "./service";

const REPLY = {
  ...{ id: "1", object: "chat.completion", created: 1, model: "small" },
  choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "Hi" } }],
  usage: { prompt_tokens: 12_000, completion_tokens: 345, total_tokens: 12_345 },
};
const ASKS = graph(
  [node("begin", "trigger"), node("ask", "llm", { llmPrompt: "Hello", llmModel: "small" })],
  "begin>ask",
);

describe.skipIf(hasNoBrowser)("tokens and cost of model nodes", () => {
  let models: Server;
  let service: Service;
  let visitor: Visitor;

  beforeAll(async () => {
    models = createServer((_request, response) => {
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify(REPLY));
    });
    await new Promise<void>((resolve) => models.listen(0, "127.0.0.1", resolve));
    const { port } = models.address() as AddressInfo;
    service = await startService({
      OPENAI_API_KEY: "sk-test",
      OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`,
      HTTP_ALLOW_PRIVATE_NETWORKS: "true",
      LLM_PRICES: JSON.stringify({ small: { input: 0.5, output: 2 } }),
    });
    visitor = await Visitor.connect(service.url);
  });
  afterAll(async () => {
    await visitor?.close();
    await service?.stop();
    models?.close();
    models?.closeAllConnections();
  });

  test("are shown for an execution, a node and the last executions of a workflow", async () => {
    await visitor.call("/api/workflows", { id: "asks", name: "Asks", data: ASKS });
    const ids = [await visitor.start({ workflowId: "asks" })];
    ids.push(await visitor.start({ workflowId: "asks" }));
    const page = await visitor.open(`/executions/${ids[0]}?node=ask`);
    await page.locator(".run-header").getByText("12.3K tokens · $0.0067").waitFor();
    const card = page.locator(".card").filter({ has: page.getByText("ask", { exact: true }) });
    await card.getByText("12.3K tokens · $0.0067").waitFor();
    const panel = page.getByRole("region", { name: "ask" });
    await panel.getByRole("tab", { name: "Log" }).click();
    await panel.getByText("12,000 in, 345 out").waitFor();
    await panel.getByText("$0.0067").waitFor();

    const second = await visitor.open(`/executions/${ids[1]}`);
    await second.locator(".run-header").getByText("completed").waitFor();
    const workflow = await visitor.open("/workflows/asks");
    await workflow.getByText("24.7K").waitFor();
    await workflow.getByText("$0.013").waitFor();
    expect(await workflow.getByText("cost per execution").count()).toBe(1);
    expect(visitor.errors).toEqual([]);
  });
});
