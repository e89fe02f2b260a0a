import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { graph, node } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

const LARGE = graph([node("begin", "trigger"), node("end", "output")], "begin>end");
const ROWS = 12_000;
/** Maximum size of everything that the page requests before the user wants a whole payload. */
const MAX_BYTES = 300_000;
const MAX_ELEMENTS = 1_500;

describe.skipIf(hasNoBrowser)("a large payload", () => {
  let visitor: Visitor;
  let page: Page;
  const ids: string[] = [];
  const bytes: Promise<number>[] = [];

  beforeAll(async () => {
    visitor = await Visitor.connect();
    await visitor.call("/api/workflows", { id: "large", name: "Large", data: LARGE });
    for (const last of ["old", "new", "later"]) {
      const rows = Array.from({ length: ROWS }, (_, at) => ({
        id: at,
        text: `The row ${at} of many`,
      }));
      const begin = { rows, last };
      const id = await visitor.start({ workflowId: "large", inputs: { begin } });
      await visitor.ended(id);
      ids.push(id);
    }
    page = await visitor.newPage();
    page.on("requestfinished", (request) => {
      if (request.url().includes("/api/"))
        bytes.push(request.sizes().then(({ responseBodySize }) => responseBodySize));
    });
    await page.goto(`${visitor.url}/ui/executions/${ids[1]}?node=begin`);
  });
  afterAll(() => visitor?.close());

  const received = async () => (await Promise.all(bytes)).reduce((sum, each) => sum + each, 0);
  const elements = () => page.evaluate(() => document.querySelectorAll("*").length);
  const panel = () => page.getByRole("region", { name: "begin" });

  test("is neither requested nor shown before the user wants all of it", async () => {
    await panel()
      .getByText(/^\d+ KiB$/)
      .waitFor();
    await panel().getByText("The row 0 of many").waitFor();
    await page.getByRole("tab", { name: "Result" }).click();
    await page
      .getByRole("tabpanel", { name: "Result" })
      .getByText(/^\d+ KiB$/)
      .waitFor();
    await panel().getByRole("tab", { name: "Try" }).click();
    await panel()
      .getByText(/^Without a text/)
      .waitFor();
    expect(await received()).toBeLessThan(MAX_BYTES);
    expect(await elements()).toBeLessThan(MAX_ELEMENTS);
  });

  test("differs from that of the execution before, which is compared on request", async () => {
    await panel().getByRole("tab", { name: "Output" }).click();
    await panel().getByRole("button", { name: "Compare with the previous run" }).click();
    await panel().getByRole("button", { name: "Load and compare all" }).click();
    const rows = panel().locator(".differences tbody tr");
    await rows.first().waitFor();
    expect(await rows.allInnerTexts()).toEqual(['last\t"old"\t"new"']);
    await panel().getByRole("button", { name: "Show the data" }).click();
  });

  test("is loaded as a whole, searched, and downloaded", async () => {
    await panel().getByRole("button", { name: "Load all" }).click();
    await panel().locator(".json-line").first().waitFor();
    expect(await elements()).toBeLessThan(MAX_ELEMENTS);
    await panel().getByLabel("Search the data").fill("row 11999 of");
    await panel().getByText("rows[11999].text").waitFor();
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      panel().getByRole("button", { name: "Download" }).click(),
    ]);
    expect(file.suggestedFilename()).toBe("begin-outputData.json");
    expect(visitor.errors).toEqual([]);
  });
});
