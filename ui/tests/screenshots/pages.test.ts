// Takes the screenshots of the documentation: `npm run screenshots`.
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { node } from "../browser/documents";
import { hasNoBrowser, ROOT, type Service, startService, Visitor } from "../browser/service";
import { withPalette } from "./png";

const IMAGES = join(ROOT, "docs/images");
const MAX_BYTES = 60_000;
const VIEWPORT = { width: 1120, height: 560 };

/** Orders come at once, a stock stays away until the end, and a price is out of order. */
function shop(held: ServerResponse[]): Promise<Server> {
  const server = createServer((request, response) => {
    if (request.url === "/stock") return void held.push(response);
    response.writeHead(request.url === "/price" ? 503 : 200, {
      "Content-Type": "application/json",
    });
    response.end(JSON.stringify([{ article: "coffee", total: 54 }]));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

const report = (address: string, path: string) => ({
  nodes: [
    { ...node("start", "trigger"), label: "Every morning" },
    {
      ...node("orders", "http", { httpUrl: `${address}/orders`, retries: 0 }),
      label: "New orders",
    },
    {
      ...node("stock", "http", { httpUrl: `${address}${path}`, retries: 0, timeoutSeconds: 600 }),
      label: "Stock",
    },
    {
      ...node("large", "condition", {
        conditionField: "total",
        conditionOperator: "greaterOrEqual",
        conditionValue: 500,
      }),
      label: "500 or more?",
    },
    {
      ...node("review", "addField", { addFieldName: "next", addFieldValue: "review" }),
      label: "Ask a colleague",
    },
    {
      ...node("ship", "addField", { addFieldName: "next", addFieldValue: "ship" }),
      label: "Ship at once",
    },
    { ...node("report", "output"), label: "Report" },
  ],
  connections: [
    { id: "c1", fromNodeId: "start", toNodeId: "orders" },
    { id: "c2", fromNodeId: "start", toNodeId: "stock" },
    { id: "c3", fromNodeId: "orders", toNodeId: "large" },
    { id: "c4", fromNodeId: "large", toNodeId: "review", outputType: "true" },
    { id: "c5", fromNodeId: "large", toNodeId: "ship", outputType: "false" },
    { id: "c6", fromNodeId: "review", toNodeId: "report" },
    { id: "c7", fromNodeId: "ship", toNodeId: "report" },
    { id: "c8", fromNodeId: "stock", toNodeId: "report" },
  ],
});

describe.skipIf(hasNoBrowser)("screenshots", () => {
  const held: ServerResponse[] = [];
  let server: Server;
  let service: Service;
  let visitor: Visitor;
  let address: string;

  beforeAll(async () => {
    mkdirSync(IMAGES, { recursive: true });
    server = await shop(held);
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    service = await startService({ HTTP_ALLOWED_HOSTS: "127.0.0.1" });
    visitor = await Visitor.connect(service.url);
    const save = (id: string, name: string, path: string) =>
      visitor.call("/api/workflows", { id, name, data: report(address, path) });
    await save("morning-report", "Morning report", "/stock");
    await save("price-check", "Price check", "/price");
  });
  afterAll(async () => {
    await visitor?.close();
    for (const response of held) response.end("[]");
    await service?.stop();
    server?.close();
    server?.closeAllConnections();
  });

  /** Takes an image without the pointer and without moving parts. */
  async function take(page: Page, name: string): Promise<void> {
    const path = join(IMAGES, `${name}.png`);
    await page.mouse.move(0, 0);
    const image = withPalette(await page.screenshot({ animations: "disabled", caret: "hide" }));
    expect(image.length, name).toBeLessThan(MAX_BYTES);
    writeFileSync(path, image);
  }
  const view = (path: string, colorScheme: "light" | "dark" = "light") =>
    visitor.open(path, { viewport: VIEWPORT, colorScheme, reducedMotion: "reduce" });

  test("list, running graph, failed run, approval and dark mode", async () => {
    for (const workflowId of ["example-hello-world", "example-orders", "example-sales-by-city"])
      await visitor.start({ workflowId });
    const approval = await visitor.start({
      workflowId: "example-pay",
      inputs: { start: { amount: 7 } },
    });
    const failed = await visitor.start({ workflowId: "price-check" });
    const running = await visitor.start({ workflowId: "morning-report" });

    const graph = await view(`/executions/${running}`);
    await graph.locator('.card[data-status="loading"]').waitFor();
    await graph.locator('.card[data-status="skipped"]').waitFor();
    await take(graph, "running");

    const failure = await view(`/executions/${failed}?node=stock`);
    await failure.getByRole("tab", { name: "Input" }).waitFor();
    await failure.locator(".react-flow__edge").first().waitFor({ state: "attached" });
    await failure.locator(".json").first().waitFor();
    await take(failure, "failed");

    const question = await view(`/executions/${approval}?node=ask`);
    await question.getByRole("button", { name: "Approve" }).waitFor();
    await question.locator(".react-flow__edge").first().waitFor({ state: "attached" });
    await question.locator(".json").first().waitFor();
    await question.getByText("Connecting…").waitFor({ state: "detached" });
    await take(question, "approval");

    const list = await view("/");
    await list.locator(".execution-row").nth(5).waitFor();
    await take(list, "list");
    const dark = await view(`/executions/${running}?tab=timeline`, "dark");
    await dark.locator(".timeline-row").nth(3).waitFor();
    await take(dark, "dark");
  });
});
