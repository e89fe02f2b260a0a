import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seriousFindings } from "./axe";
import { graph, node } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

const COUNT = 5;
const pricing = (value: string) =>
  graph(
    [node("begin", "trigger"), node("price", "addField", { addFieldValue: value })],
    "begin>price",
  );

describe.skipIf(hasNoBrowser)("bulk operations in a browser", () => {
  let service: Visitor;
  beforeAll(async () => {
    service = await Visitor.connect();
  });
  afterAll(() => service?.close());

  const failures = async () =>
    (
      await service.call<{ failures: { count: number; rerunCount: number }[] }>(
        "/api/failures?workflowId=pricing",
      )
    ).failures[0];

  test("reruns a group of failures by the keyboard, and shows the progress after a reload", async () => {
    const data = pricing("{{ price }}");
    await service.call("/api/workflows", { id: "pricing", name: "Pricing", data });
    for (let index = 0; index < COUNT; index++) await service.start({ workflowId: "pricing" });
    await expect.poll(async () => (await failures())?.count, { timeout: 60_000 }).toBe(COUNT);
    await fetch(`${service.url}/api/workflows/pricing`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: "Pricing", data: pricing("7") }),
    });

    const page = await service.open("/failures?workflow=pricing");
    await page.getByText("the input has no field 'price'").waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    await page.keyboard.press("j");
    await page.keyboard.press("Space");
    await page.keyboard.press("r");
    await page.getByText(`Executions to run again: ${COUNT}`).waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    expect(await failures()).toMatchObject({ rerunCount: 0 });
    await page.getByRole("button", { name: `Rerun ${COUNT}` }).press("Enter");
    await page.getByText(`Reruns started: ${COUNT} of ${COUNT}`).waitFor();
    await page.getByText(`${COUNT} run again`).waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    await page.reload();
    await page.getByText(`Reruns started: ${COUNT} of ${COUNT}`).waitFor();

    await page.getByRole("checkbox", { name: /^Select “/ }).check();
    await page.getByRole("button", { name: "Rerun…" }).click();
    await page.getByText("Executions to run again: 0").waitFor();
    expect(await page.getByRole("button", { name: "Rerun 0" }).isDisabled()).toBe(true);
    await page.getByLabel("Also executions that were run again before").check();
    await page.getByText(`Executions to run again: ${COUNT}`).waitFor();
  });

  test("deletes all executions that match the filters of the list", async () => {
    const page = await service.open("?workflow=pricing");
    await page
      .locator(".execution-row")
      .nth(2 * COUNT - 1)
      .waitFor();
    await page.getByLabel("Select", { exact: true }).first().check();
    await page.getByText("1 selected").waitFor();
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.getByText("cannot be undone: 1").waitFor();
    await page.getByLabel("all that match the filters").check();
    await page.getByRole("button", { name: `Delete ${2 * COUNT}` }).click();
    await page.getByText(`Executions deleted: ${2 * COUNT} of ${2 * COUNT}`).waitFor();
    await page.getByText("No execution matches the filters").waitFor();
    expect(await failures()).toBeUndefined();
  });

  test("no page had an error", () => expect(service.errors).toEqual([]));
});
