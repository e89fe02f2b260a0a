import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seriousFindings } from "./axe";
import { graph, node } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

const FIELD = { addFieldName: "done", addFieldValue: "yes" };
const INNER = graph(
  [node("start", "trigger"), node("gate", "approval"), node("paid", "addField", FIELD)],
  "start>gate",
  "gate:true>paid",
);
const OUTER = graph(
  [node("enter", "trigger"), node("inner", "subworkflow", { subworkflowId: "inner" })],
  "enter>inner",
);
const LOOP = graph(
  [
    node("begin", "trigger"),
    node("each", "forEach", {
      forEachItems: "{{ items }}",
      forEachConcurrency: 9,
      forEachOnError: "continue",
    }),
    node("odd", "condition", {
      conditionField: "kind",
      conditionOperator: "equals",
      conditionValue: "odd",
    }),
    node("broken", "addField", { addFieldName: "x", addFieldValue: "{{ missing }}" }),
    node("call", "subworkflow", { subworkflowId: "outer" }),
    node("after", "output"),
  ],
  "begin>each",
  "each:item>odd",
  "odd:true>broken",
  "odd:false>call",
  "each:done>after",
);

describe.skipIf(hasNoBrowser)("loops and children in the graph", () => {
  let visitor: Visitor;
  let page: Page;
  beforeAll(async () => {
    visitor = await Visitor.connect();
    await visitor.call("/api/workflows", { id: "inner", name: "Inner", data: INNER });
    await visitor.call("/api/workflows", { id: "outer", name: "Outer", data: OUTER });
    const inputs = { items: [{ kind: "even" }, { kind: "odd" }] };
    const id = await visitor.start({ graph: LOOP, workflowName: "Nested", inputs });
    page = await visitor.open(`/executions/${id}`, { reducedMotion: "reduce" });
  });
  afterAll(() => visitor?.close());

  const card = (name: string) =>
    page.locator(".react-flow .card").filter({ has: page.getByText(name, { exact: true }) });
  const toggle = (name: string) =>
    page.locator(".react-flow").getByRole("button", { name: `Nodes of “${name}”` });
  const waitForCard = (name: string, status: string) =>
    page.locator(`.react-flow .card[data-status="${status}"]`).getByText(name).waitFor();

  test("the menu of a loop lists failed items first, and the graph shows the chosen one", async () => {
    await waitForCard("call", "waiting");
    await page.getByRole("button", { name: "Item: All items (2)" }).press("Enter");
    const options = page.getByRole("option");
    await expect.poll(() => options.allInnerTexts()).toEqual(["All items (2)", "Item 2", "Item 1"]);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await waitForCard("broken", "error");
    await card("call").getByText("“odd” did not choose “false”").waitFor();
    await page.getByRole("button", { name: "Previous item" }).press("Enter");
    await waitForCard("call", "waiting");
    await card("broken").getByText("“odd” did not choose “true”").waitFor();
  });

  test("children open in place at any depth, and are live", async () => {
    await toggle("call").press("Enter");
    await toggle("inner").press("Enter");
    await waitForCard("gate", "waiting");
    await card("gate").click();
    const panel = page.getByRole("complementary").getByRole("region", { name: "gate" });
    await panel.getByRole("button", { name: "Approve" }).click();
    await waitForCard("paid", "success");
    await page.locator(".run-header").getByText("completed").waitFor();
    await panel.getByText("completed").waitFor();
  });

  test("the timeline shows the time in the queue and the waits of children", async () => {
    await page.getByRole("tab", { name: "Timeline" }).click();
    const rows = page.locator(".timeline-row");
    // Of the execution, of its child, and of the child of that.
    await expect.poll(() => rows.filter({ hasText: "Queue" }).count()).toBe(3);
    const gate = rows.filter({ hasText: "gate" });
    await gate.locator(".segment-parked").waitFor();
    expect(await gate.locator(".segment-running").count()).toBe(1);
    await page.getByRole("tab", { name: "Graph" }).click();
    await waitForCard("paid", "success");
  });

  test("the address keeps what is open, and everything closes again", async () => {
    await page.reload();
    await waitForCard("paid", "success");
    expect(await card("gate").getAttribute("data-selected")).toBe("true");
    expect(await seriousFindings(page)).toEqual([]);
    await toggle("call").press("Enter");
    await card("gate").waitFor({ state: "detached" });
    await toggle("each").press("Enter");
    await card("odd").waitFor({ state: "detached" });
    await page.reload();
    await card("each").waitFor();
    expect(await card("odd").count()).toBe(0);
    expect(visitor.errors).toEqual([]);
  });
});
