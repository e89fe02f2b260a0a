// Takes the screenshots of the documentation: `npm run screenshots`.
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { graph, node } from "../browser/documents";
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

    const picture = await view(`/executions/${running}`);
    await picture.locator('.card[data-status="loading"]').waitFor();
    await picture.locator('.card[data-status="skipped"]').waitFor();
    await take(picture, "running");

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

  test("tasks, failures and schedules", async () => {
    const refund = (config: object) =>
      graph(
        [node("start", "trigger"), { ...node("ask", "approval", config), label: "May we pay?" }],
        "start>ask",
      );
    const questions: [string, object][] = [
      ["Publish the new price list?", { approvalRequired: 2 }],
      ["Send the offer to Lima?", {}],
    ];
    const approvalAssignees = "ada@example.com, bob@example.com";
    for (const [approvalMessage, more] of questions)
      await visitor.start({
        graph: refund({ approvalMessage, approvalAssignees, ...more }),
        workflowName: "Sales",
      });
    const form = {
      properties: {
        amount: { type: "integer", title: "Amount", minimum: 1 },
        reason: { type: "string", title: "Reason" },
      },
      required: ["amount", "reason"],
    };
    await visitor.start({
      graph: refund({
        approvalMessage: "Refund order 4711?",
        approvalAssignees,
        approvalForm: form,
      }),
      workflowName: "Refunds",
    });
    // The test above started one.
    for (let index = 1; index < 30; index++) await visitor.start({ workflowId: "price-check" });
    const missing = graph(
      [node("start", "trigger"), node("rows", "addField", { addFieldValue: "{{ rows }}" })],
      "start>rows",
    );
    await visitor.call("/api/workflows", { id: "import", name: "Nightly import", data: missing });
    for (let index = 0; index < 4; index++) await visitor.start({ workflowId: "import" });
    const schedules: [string, string, object][] = [
      ["stock", "Check the stock", { scheduleEverySeconds: 900 }],
      ["daily", "Daily report", { scheduleCron: "0 7 * * *", scheduleTimezone: "America/Lima" }],
    ];
    for (const [id, name, config] of schedules) {
      const data = graph([node("clock", "schedule", config), node("end", "output")], "clock>end");
      await visitor.call("/api/workflows", { id, name, data });
    }

    const tasks = await view("/tasks");
    await tasks.getByRole("button", { name: /Refund order 4711/ }).click();
    await tasks.getByLabel("Amount").fill("0");
    await tasks.getByLabel("Answer as").selectOption("ada@example.com");
    await tasks.getByRole("button", { name: "Approve" }).click();
    await tasks.getByText("'reason' is required").waitFor();
    await take(tasks, "tasks");

    const failures = await view("/failures");
    const group = failures.getByRole("listitem").filter({ hasText: "Price check" });
    await group.getByRole("checkbox").check();
    await group.getByText("30", { exact: true }).waitFor();
    await failures.getByRole("button", { name: "Rerun…" }).click();
    await failures.getByText("Executions to run again: 30").waitFor();
    await take(failures, "failures");

    const clock = await view("/schedules");
    await clock.getByRole("button", { name: "Show the next 10" }).first().click();
    await clock.locator(".instants li").nth(9).waitFor();
    await take(clock, "schedules");
  });
});
