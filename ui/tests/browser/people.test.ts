import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seriousFindings } from "./axe";
import { graph, node } from "./documents";
import { hasNoBrowser, Visitor } from "./service";

const FORM = {
  properties: {
    amount: { type: "integer", title: "Amount", minimum: 1 },
    reason: { type: "string", title: "Reason", description: "Why do we pay?" },
    speed: { enum: ["slow", "fast"], title: "Speed", default: "slow" },
    copies: { type: "array", title: "Copies", items: { type: "string", format: "email" } },
  },
  required: ["amount", "reason"],
};
const asking = (config: object) =>
  graph(
    [node("begin", "trigger"), node("ask", "approval", config), node("after", "output")],
    "begin>ask",
    "ask>after",
  );

interface Task {
  id: string;
  executionId: string;
  status: string;
}

describe.skipIf(hasNoBrowser)("tasks of people in a browser", () => {
  let service: Visitor;
  beforeAll(async () => {
    service = await Visitor.connect();
  });
  afterAll(() => service?.close());

  /** Starts an execution that waits for an answer, and returns its task. */
  async function ask(config: object): Promise<Task> {
    const executionId = await service.start({ graph: asking(config), workflowName: "Payments" });
    const path = `/api/tasks?executionId=${executionId}`;
    let found: Task[] = [];
    const read = async () => {
      found = (await service.call<{ tasks: Task[] }>(path)).tasks;
      return found.length;
    };
    await expect.poll(read, { timeout: 60_000 }).toBe(1);
    return found[0] as Task;
  }

  test("answers a task with a form by the keyboard, and shows problems at their fields", async () => {
    const task = await ask({
      approvalMessage: "Pay the invoice?",
      approvalForm: FORM,
      approvalAssignees: "ada@example.com, bob@example.com",
    });
    const page = await service.open("/tasks?assignee=ada@example.com");
    const row = page.getByRole("button", { name: /Pay the invoice\?/ });
    await row.waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.getByLabel("Amount").fill("0");
    await page.getByRole("button", { name: "Add an item" }).click();
    await page.getByRole("textbox", { name: "1", exact: true }).fill("nothing");
    expect(await page.getByLabel("Speed").inputValue()).toBe("0");
    expect(await page.getByLabel("Answer as").inputValue()).toBe("ada@example.com");
    expect(await seriousFindings(page)).toEqual([]);
    await page.keyboard.press("Enter");
    await page.getByText("'reason' is required").waitFor();
    await page.getByText("0 is less than the minimum of 1").waitFor();
    await page.getByText("'nothing' is not a 'email'").waitFor();
    await page.locator('input[aria-invalid="true"]:focus').waitFor();
    expect(await page.getByLabel("Amount").evaluate((input) => input.matches(":focus"))).toBe(true);
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByLabel("Amount").fill("12");
    await page.getByLabel("Reason").fill("rent");
    await page.getByRole("button", { name: "Remove item 1" }).click();
    await page.getByLabel("Reason").press("Enter");
    await page.getByRole("listitem").getByText("ada@example.com approved").waitFor();
    const { finalOutput } = await service.call<{ finalOutput: unknown }>(
      `/api/executions/${task.executionId}?waitSeq=5`,
    );
    expect(finalOutput).toMatchObject({ amount: 12, reason: "rent", speed: "slow" });
  });

  test("shows tasks that come, and says plainly that another person was faster", async () => {
    await ask({ approvalMessage: "First question?" });
    const page = await service.open("/tasks");
    await page.getByText("First question?").waitFor();
    const task = await ask({ approvalMessage: "Second question?" });
    await page.getByRole("button", { name: /Show \d+ new/ }).click();
    await page.getByRole("button", { name: /Second question\?/ }).click();
    const approve = page.getByRole("button", { name: "Approve" });
    await approve.waitFor();
    await page.route("**/complete", async (route) => {
      await service.call(`/api/tasks/${task.id}/complete`, { approved: false });
      await route.continue();
    });
    await approve.click();
    await page.getByRole("alert").getByText("The task has already ended.").waitFor();
    await page.getByText("A person without a name rejected").waitFor();
  });

  test("an approval of two people keeps its form until the second one, in its execution", async () => {
    const task = await ask({
      approvalMessage: "Two signatures?",
      approvalAssignees: "ada, bob, eve",
      approvalRequired: 2,
    });
    const page = await service.open(`/executions/${task.executionId}?node=ask`);
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByText(/the answer needs an assignee/).waitFor();
    await page.getByLabel("Answer as").selectOption("ada");
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByText("1 of 2 approvals").waitFor();
    await page.getByLabel("Answer as").selectOption("eve");
    await page.getByRole("button", { name: "Approve" }).click();
    await page.locator(".run-header").getByText("completed").waitFor();
    await page.getByText("eve approved").waitFor();
  });

  test("no page had an error", () => {
    const own = service.errors.filter((text) => !/status of 4(09|22)/.test(text));
    expect(own).toEqual([]);
  });
});
