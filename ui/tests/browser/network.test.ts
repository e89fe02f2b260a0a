import { createHash, randomBytes } from "node:crypto";
import type { Page, Request } from "playwright-core";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { graph, node } from "./documents";
import { startCuttingProxy } from "./proxy";
import { hasNoBrowser, type Service, startService, Visitor } from "./service";

const GATED = graph(
  [
    node("begin", "trigger"),
    node("gate", "approval"),
    node("work", "addField", FIELD()),
    node("end", "output"),
  ],
  "begin>gate",
  "gate>work",
  "work>end",
);

function FIELD() {
  return { addFieldName: "done", addFieldValue: "yes" };
}

describe.skipIf(hasNoBrowser)("the run page behind a proxy that cuts streams", () => {
  test.each([
    ["two streams", 2],
    ["every stream", Number.POSITIVE_INFINITY],
  ])("shows the true end after the proxy cuts %s", async (_name, maxCuts) => {
    const proxy = await startCuttingProxy(inject("service"), maxCuts);
    const visitor = await Visitor.connect(proxy.url);
    const id = await visitor.start({ graph: GATED, workflowName: "Gated" });
    const page = await visitor.open(`/executions/${id}`);
    await page.locator('.card[data-status="waiting"]').getByText("gate").waitFor();

    await visitor.call(`/api/executions/${id}/nodes/gate/resume`, { approved: true });
    await page.locator(".run-header").getByText("completed").waitFor();
    expect(await page.locator('.card[data-status="success"]').count()).toBe(4);
    expect(proxy.cuts()).toBeGreaterThanOrEqual(Math.min(maxCuts, 2));

    await page.getByRole("tab", { name: "Result" }).click();
    await page.getByText('"yes"').waitFor();
    await visitor.close();
    await proxy.close();
  });
});

describe.skipIf(hasNoBrowser)("the run page of a service with keys", () => {
  const key = `wos_${randomBytes(32).toString("base64url")}`;
  let service: Service;
  let visitor: Visitor;

  beforeAll(async () => {
    const hash = createHash("sha256").update(key).digest("hex");
    service = await startService({ API_KEYS: `page:run:*:${hash}` });
    visitor = await Visitor.connect(service.url);
  });
  afterAll(async () => {
    await visitor?.close();
    await service?.stop();
  });

  const enter = async (page: Page, text: string) => {
    const dialog = page.getByRole("dialog", { name: "API key" });
    await dialog.getByLabel("Key", { exact: true }).fill(text);
    await dialog.getByRole("button", { name: "Continue" }).click();
  };

  test("asks for a key, rejects a wrong one, and keeps it for the session only", async () => {
    const page = await visitor.open("/workflows");
    await enter(page, "wos_wrong");
    await page.getByRole("dialog").getByText("The service rejects this key").waitFor();
    await enter(page, key);
    await page.getByText("Hello, world").waitFor();

    await page.reload();
    await page.getByText("Hello, world").waitFor();
    const stored = await page.evaluate(() => ({
      session: Object.values(sessionStorage),
      local: JSON.stringify(localStorage),
      cookies: document.cookie,
    }));
    expect(stored.session).toContain(key);
    expect(stored.local).not.toContain(key);
    expect(stored.cookies).toBe("");

    // A session ends with its tab.
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.getByRole("dialog", { name: "API key" }).waitFor();
  });

  test("follows an execution with a token for it, and no address contains the key", async () => {
    const id = await visitor.start({ graph: GATED, workflowName: "Gated" }, key);
    const page = await visitor.newPage();
    const credentials = new Map<string, string[]>();
    page.on("request", (request: Request) => {
      const { pathname } = new URL(request.url());
      const sent = request.headers().authorization ?? "";
      credentials.set(pathname, [...(credentials.get(pathname) ?? []), sent]);
    });
    await page.goto(`${visitor.url}/ui/executions/${id}`);
    await enter(page, key);
    await page.locator('.card[data-status="waiting"]').getByText("gate").waitFor();
    await page.locator(".banner").getByRole("button").click();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.locator(".run-header").getByText("completed").waitFor();

    const streams = credentials.get(`/api/executions/${id}/stream`) ?? [];
    expect(streams.filter((sent) => sent !== "")).not.toEqual([]);
    expect(streams.filter((sent) => sent.includes(key))).toEqual([]);
    const answers = [...credentials].filter(([path]) =>
      /^\/api\/tasks\/[^/]+\/complete$/.test(path),
    );
    expect(answers.map(([, sent]) => sent)).toEqual([[`Bearer ${key}`]]);
    expect(visitor.requests.filter((url) => url.includes(key))).toEqual([]);
    expect(visitor.foreignRequests()).toEqual([]);
  });
});
