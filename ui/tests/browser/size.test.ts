import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { node } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

const FIELD = { addFieldName: "seen", addFieldValue: "{{ loop.number }}" };
const LOOP = {
  nodes: [
    node("begin", "trigger"),
    node("each", "forEach", { forEachItems: "{{ items }}", forEachConcurrency: 100 }),
    node("work", "addField", FIELD),
    node("end", "output"),
  ],
  connections: [
    { id: "c1", fromNodeId: "begin", toNodeId: "each" },
    { id: "c2", fromNodeId: "each", toNodeId: "work", outputType: "item" },
    { id: "c3", fromNodeId: "each", toNodeId: "end", outputType: "done" },
  ],
};
const MANY = 5_000;
const FEW = 60;
/** Maximum number of elements of the page, which does not depend on the number of node runs. */
const MAX_ELEMENTS = 1_500;
/** Log pages of 5,000 node runs, and everything else that the page requests. */
const MAX_REQUESTS = 30;
/** One step of a scroll of 5,000 rows may take this many times as long as one of 60 rows. */
const MAX_SCROLL_RATIO = 6;
const SCROLL_STEPS = 40;

describe.skipIf(hasNoBrowser)("an execution with 5,000 node runs", () => {
  let visitor: Visitor;
  const ids = new Map<number, string>();

  beforeAll(async () => {
    visitor = await Visitor.connect();
    for (const count of [FEW, MANY]) {
      const items = Array.from({ length: count }, (_, at) => ({ at }));
      ids.set(count, await visitor.start({ graph: LOOP, workflowName: "Loop", inputs: { items } }));
    }
    for (const id of ids.values()) expect(await visitor.ended(id)).toBe("completed");
  }, 240_000);
  afterAll(() => visitor?.close());

  const elements = (page: Page) => page.evaluate(() => document.querySelectorAll("*").length);

  /** Returns the median time of one step of a scroll, from the change to the next frame's end. */
  const scrollTime = (page: Page): Promise<number> =>
    page.evaluate(async (steps) => {
      const row = document.querySelector(".log-row");
      let list = row?.parentElement;
      while (list && list.scrollHeight <= list.clientHeight) list = list.parentElement;
      if (!list) throw new Error("There is no list that scrolls");
      const painted = () =>
        new Promise<void>((resolve) => {
          requestAnimationFrame(() => {
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => resolve();
            port2.postMessage(null);
          });
        });
      const times: number[] = [];
      const range = list.scrollHeight - list.clientHeight;
      for (let step = 1; step <= steps; step++) {
        const start = performance.now();
        list.scrollTop = (range * step) / steps;
        await painted();
        times.push(performance.now() - start);
      }
      return times.sort((a, b) => a - b)[steps / 2] as number;
    }, SCROLL_STEPS);

  test("opens with few requests and elements, and scrolls like a short list", async () => {
    const before = visitor.requests.length;
    const page = await visitor.open(`/executions/${ids.get(MANY)}`);
    await page.locator('.card[data-status="success"]').getByText("5000/5000").waitFor();
    const opening = visitor.requests.slice(before).filter((url) => url.includes("/api/"));
    expect(opening.length).toBeLessThan(MAX_REQUESTS);
    expect(await elements(page)).toBeLessThan(MAX_ELEMENTS);

    await page.getByRole("button", { name: "Item: All items (5000)" }).click();
    await page.getByRole("option").first().waitFor();
    expect(await elements(page)).toBeLessThan(MAX_ELEMENTS);
    await page.getByRole("combobox", { name: "Item" }).fill("Item 4321");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Item: Item 4321" }).waitFor();

    await page.getByRole("tab", { name: "Timeline" }).click();
    await page.getByText("×5000").waitFor();
    expect(await elements(page)).toBeLessThan(MAX_ELEMENTS);
    await page.getByRole("button", { name: /work ×5000/ }).click();
    await page.getByText("work [0]").waitFor();
    expect(await elements(page)).toBeLessThan(MAX_ELEMENTS);

    const short = await visitor.open(`/executions/${ids.get(FEW)}?tab=logs`);
    await short.locator(".log-row").first().waitFor();
    await page.getByRole("tab", { name: "Logs" }).click();
    await page.locator(".log-row").first().waitFor();
    // The rounds alternate, so that other programs slow both lists down alike.
    const rounds: [number, number][] = [];
    for (let round = 0; round < 3; round++) {
      await short.bringToFront();
      const ofFew = await scrollTime(short);
      await page.bringToFront();
      rounds.push([await scrollTime(page), ofFew]);
    }
    await page.locator(".log-row").getByText("end", { exact: true }).first().waitFor();
    expect(await elements(page)).toBeLessThan(MAX_ELEMENTS);
    const ratios = rounds.map(([ofMany, ofFew]) => ofMany / ofFew);
    console.log("Scroll step in ms, 5,000 and 60 rows:", rounds);
    expect(Math.min(...ratios)).toBeLessThan(MAX_SCROLL_RATIO);

    await page.getByLabel("Search the log").fill("[4999]");
    await expect.poll(() => page.locator(".log-row").count()).toBe(1);
  });
});
