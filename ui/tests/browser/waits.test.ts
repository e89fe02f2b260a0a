import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { graph, node } from "./documents";
import { hasNoBrowser, type Service, startService, Visitor } from "./service";

const MANY_WAITS = graph(
  [
    node("rows", "manualInput", { inputVarName: "rows", inputVarValue: [1] }),
    node("pause", "wait", { waitSeconds: 3_600 }),
    node("paid", "waitForEvent", { eventName: "paid" }),
    node("each", "forEach", { forEachItems: "{{ rows }}" }),
    node("ask", "approval", { approvalMessage: "Is it fine?" }),
    node("fetch", "http", { httpUrl: "http://127.0.0.1:1/", retries: 1, retryDelaySeconds: 3_600 }),
  ],
  "rows>pause",
  "rows>paid",
  "rows>each",
  "each:item>ask",
  "rows>fetch",
);

describe.skipIf(hasNoBrowser)("waiting nodes in a browser", () => {
  let own: Service;
  let service: Visitor;
  beforeAll(async () => {
    // The connection to this port is refused, so that the node is tried again.
    own = await startService({ HTTP_ALLOWED_HOSTS: "127.0.0.1:1" });
    service = await Visitor.connect(own.url);
  });
  afterAll(async () => {
    await service?.close();
    await own?.stop();
  });

  test("names the end of each wait, and offers an action only where the service accepts it", async () => {
    const id = await service.start({ graph: MANY_WAITS, workflowName: "Waits" });
    const page = await service.open(`/executions/${id}?node=each`);
    const panel = page.locator(".panel");
    const hasNoAction = async () =>
      expect(await panel.getByRole("button", { name: /resume|approve|now/i }).count()).toBe(0);
    await panel.getByText("Waits for its items").waitFor();
    await hasNoAction();
    for (const [name, text] of [
      ["pause", /^Waits until .+ 20\d\d/],
      ["paid", "Waits for the event 'paid'"],
    ] as const) {
      await page.goto(`${service.url}/ui/executions/${id}?node=${name}`);
      await panel.getByText(text).waitFor();
      await hasNoAction();
    }
    await page.goto(`${service.url}/ui/executions/${id}?node=ask`);
    await panel.getByRole("button", { name: "Approve" }).waitFor();
    await page.goto(`${service.url}/ui/executions/${id}?node=fetch`);
    await panel.getByText(/^The next attempt starts at .+ 20\d\d/).waitFor();
    await panel.getByRole("button", { name: "Start the attempt now" }).click();
    await page
      .getByText(/the connection was refused/)
      .first()
      .waitFor();
    await hasNoAction();
  });

  test("no page had an error", () => expect(service.errors).toEqual([]));
});
