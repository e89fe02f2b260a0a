import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seriousFindings } from "./axe";
import { FAILING, graph, node, WAITING } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

let service: Visitor;

describe.skipIf(hasNoBrowser)("the run page in a browser", () => {
  beforeAll(async () => {
    service = await Visitor.connect();
  });
  afterAll(() => service?.close());

  test("starts a workflow, survives a closed page, and approves", async () => {
    const page = await service.open("/workflows/example-pay");
    await page.getByLabel("Payload of the start").fill('{"amount": 7}');
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.waitForURL(/\/ui\/executions\//);
    await page.getByText("waiting 20 %").waitFor();
    const address = page.url();
    await page.close();

    const later = await service.open(new URL(address).pathname.replace("/ui", ""));
    await later.getByText("Pay 7 to Ada?").click();
    await later.getByRole("button", { name: "Approve" }).click();
    await later.locator(".run-header").getByText("completed").waitFor();
    await later.getByRole("tab", { name: "Result" }).click();
    await later.getByText('"paid"').waitFor();
  });

  test("the form of a workflow has inputs of the types of its values, which it proposes", async () => {
    const input = (id: string, inputVarValue: unknown) =>
      node(id, "manualInput", { inputVarName: id, inputVarValue });
    const nodes = [input("city", "Lima"), input("count", 3), input("urgent", true)];
    const data = graph(
      [...nodes, input("tags", ["a"]), node("after", "output")],
      ...["city", "count", "urgent", "tags"].map((id) => `${id}>after`),
    );
    await service.call("/api/workflows", { id: "typed", name: "Typed", data });
    const page = await service.open("/workflows/typed");
    expect(await page.getByLabel("city", { exact: true }).inputValue()).toBe("Lima");
    expect(await page.getByLabel("urgent", { exact: true }).isChecked()).toBe(true);
    await page.getByLabel("count", { exact: true }).fill("4");
    await page.getByLabel("urgent", { exact: true }).uncheck();
    await page.getByRole("textbox", { name: "tags" }).fill('["b", 1]');
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.locator(".run-header").getByText("completed").waitFor();
    const id = new URL(page.url()).pathname.split("/").at(-1);
    const { finalOutput } = await service.call<{ finalOutput: unknown }>(`/api/executions/${id}`);
    expect(finalOutput).toEqual({ city: "Lima", count: 4, urgent: false, tags: ["b", 1] });
  });

  test("shows the error first, and reruns from the failed node", async () => {
    const id = await service.start({
      graph: FAILING,
      workflowName: "Failing",
      inputs: { city: "Lima" },
    });
    const page = await service.open(`/executions/${id}`);
    await page.getByRole("alert").getByText("missing").waitFor();
    await page.getByRole("button", { name: "Open node" }).click();
    await page.getByText('"Lima"').waitFor();
    await page.getByRole("button", { name: "Rerun from here…" }).click();
    await page.getByLabel("Inputs").fill('{"missing": 5}');
    await page.getByRole("button", { name: "Rerun", exact: true }).last().click();
    await page.waitForURL((url) => !url.pathname.endsWith(id));
    await page.locator(".run-header").getByText("completed").waitFor();
  });

  test("cancels with the keyboard", async () => {
    const id = await service.start({ graph: WAITING, workflowName: "Waiting" });
    const page = await service.open(`/executions/${id}`);
    await page
      .locator(".run-header")
      .getByText(/waiting/)
      .waitFor();
    await page.keyboard.press("c");
    await page.locator(".run-header").getByText("cancelled").waitFor();
  });

  test("the keyboard moves between the views and shows its keys", async () => {
    const page = await service.open("");
    await page.getByRole("heading", { name: "Executions" }).waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("w");
    await page.getByRole("heading", { name: "Workflows" }).waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("f");
    await page.getByRole("heading", { name: "Failures" }).waitFor();
    await page.keyboard.press("Shift+?");
    await page.getByRole("dialog").getByText("Next row").waitFor();
  });

  test("pauses and resumes a schedule, and shows its next instants", async () => {
    const daily = node("daily", "schedule", { scheduleCron: "0 7 * * *", scheduleTimezone: "UTC" });
    const data = graph([daily, node("after", "output")], "daily>after");
    await service.call("/api/workflows", { id: "daily", name: "Daily report", data });
    const page = await service.open("/schedules");
    await page.getByText("active", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Show the next 10" }).click();
    await expect.poll(() => page.locator(".instants li").count()).toBe(10);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("paused", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByText("active", { exact: true }).waitFor();
  });

  test("filters the executions by time, in the address", async () => {
    const page = await service.open("?from=2001-01-01T00:00&to=2001-01-02T00:00");
    await page.getByText("No execution matches the filters").waitFor();
    expect(service.requests.join("\n")).toMatch(/createdFrom=200[01]-.*createdTo=2001-/);
    await page.getByLabel("Time", { exact: true }).first().click();
    await page.getByRole("option", { name: "Last hour" }).click();
    await page.locator(".execution-row").first().waitFor();
    expect(new URL(page.url()).searchParams.get("from")).toBe("1h");
  });

  test("shows the problems of a dropped React Flow document on its node, and runs it pasted", async () => {
    const page = await service.open("/new");
    const flow = (type: string) =>
      JSON.stringify({
        nodes: [
          {
            ...{ id: "in", type: "manualInput", position: { x: 0, y: 0 } },
            data: { label: "City", inputVarName: "city", inputVarValue: "Lima" },
          },
          {
            ...{ id: "greet", type, position: { x: 250, y: 0 }, selected: true },
            data: {
              label: "Greet",
              addFieldName: "text",
              addFieldValue: "Hello {{ city }}",
              status: "old",
            },
            measured: { width: 150, height: 40 },
          },
        ],
        edges: [{ id: "e", source: "in", target: "greet", animated: true }],
        viewport: { x: 0, y: 0, zoom: 1 },
      });
    const data = await page.evaluateHandle((text) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text], "Greeting.json", { type: "application/json" }));
      return transfer;
    }, flow("llm"));
    await page.locator("main h1").dispatchEvent("drop", { dataTransfer: data });
    await page.locator('.card[data-status="error"]').getByText("Greet").waitFor();
    expect(await page.getByRole("button", { name: "Run", exact: true }).isDisabled()).toBe(true);

    await page.locator("main h1").evaluate((heading, text) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData("text/plain", text);
      heading.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
    }, flow("addField"));
    await page.getByRole("textbox", { name: "City" }).fill("Bern");
    await page.locator('.card[data-status="error"]').waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.locator(".run-header").getByText("completed").waitFor();
    await page.getByRole("heading", { name: "Greeting" }).waitFor();
    await page.getByRole("tab", { name: "Result" }).click();
    await page.getByText('"Hello Bern"').waitFor();
  });

  test("filters by organization, moves from a checkbox with keys, and cancels all that match", async () => {
    const ids: string[] = [];
    for (const organizationId of ["acme", "acme", "other"])
      ids.push(await service.start({ graph: WAITING, workflowName: "Waiting", organizationId }));
    const page = await service.open("");
    await page.getByRole("combobox", { name: "Organization" }).fill("acme");
    await page.keyboard.press("Enter");
    const rows = page.locator(".execution-row");
    await expect.poll(() => rows.count()).toBe(2);
    expect(new URL(page.url()).searchParams.get("organization")).toBe("acme");
    await rows.getByRole("checkbox").first().check();
    await page.keyboard.press("j");
    await expect.poll(() => rows.nth(1).locator(":focus").count()).toBe(1);
    await page.keyboard.press("k");
    await expect.poll(() => rows.nth(0).locator(":focus").count()).toBe(1);
    await page.getByRole("button", { name: "Cancel…" }).click();
    await page.getByLabel("all that match the filters").check();
    await page.getByRole("button", { name: "Cancel 2" }).click();
    await page.getByText("Executions cancelled: 2 of 2").waitFor();
    const statuses = await Promise.all(ids.slice(0, 2).map((id) => service.ended(id)));
    expect(statuses).toEqual(["cancelled", "cancelled"]);
    const { status } = await service.call<{ status: string }>(`/api/executions/${ids[2]}`);
    expect(["pending", "running", "waiting"]).toContain(status);
  });

  test.each(["", "/workflows", "/workflows/example-orders", "/tasks", "/schedules", "/new"])(
    "axe has no serious findings at /ui%s",
    async (path) => {
      const page = await service.open(path);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await page.waitForLoadState("load");
      expect(await seriousFindings(page)).toEqual([]);
    },
  );

  test("axe has no serious findings on an execution with an open node", async () => {
    const id = await service.start({ graph: FAILING, workflowName: "Failing" });
    const page = await service.open(`/executions/${id}?node=broken`);
    await page.getByRole("button", { name: "Rerun from here…" }).waitFor();
    expect(await seriousFindings(page)).toEqual([]);
  });

  test("no request left the service, and no page had an error", () => {
    expect(service.requests.length).toBeGreaterThan(50);
    expect(service.foreignRequests()).toEqual([]);
    expect(service.errors).toEqual([]);
  });
});
