import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort, hasNoBrowser, PYTHON, ROOT, Visitor } from "./service";

describe.skipIf(hasNoBrowser)("examples/react", () => {
  let visitor: Visitor;
  let example: ChildProcess;
  let temporary: string;
  let pages: string;
  let serviceUrl: string;
  let ended: Promise<unknown>;

  beforeAll(async () => {
    temporary = mkdtempSync(join(tmpdir(), "example-test-"));
    const [apiPort, pagePort] = [await freePort(), await freePort()];
    serviceUrl = `http://127.0.0.1:${apiPort}`;
    pages = `http://127.0.0.1:${pagePort}`;
    example = spawn(process.execPath, ["start.mjs"], {
      cwd: join(ROOT, "examples/react"),
      env: {
        ...process.env,
        PYTHON,
        TMPDIR: temporary,
        API_PORT: String(apiPort),
        PAGE_PORT: String(pagePort),
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    ended = new Promise((resolve) => example.once("exit", resolve));
    let output = "";
    const ready = new Promise((resolve) => {
      example.stdout?.on("data", (part) => {
        output += part;
        if (output.includes("The live page")) resolve(true);
      });
    });
    if ((await Promise.race([ready, ended])) !== true) throw new Error(output);
    visitor = await Visitor.connect(serviceUrl);
  });
  afterAll(async () => {
    await visitor?.close();
    example?.kill("SIGTERM");
    await ended;
    rmSync(temporary, { recursive: true, force: true });
  });

  /** Closes the page, and opens it again in the same browser profile. */
  async function comeBack(page: Page): Promise<Page> {
    const again = await page.context().newPage();
    await page.close();
    await again.goto(page.url());
    return again;
  }

  test("the classic page polls, also after it was closed", async () => {
    const page = await visitor.newPage();
    await page.goto(`${pages}/classic.html`);
    await page.getByRole("button", { name: "Run" }).click();
    await page
      .getByRole("status")
      .getByText(/waiting|running|pending/)
      .waitFor();
    const later = await comeBack(page);
    await later.getByText('"delivery": "today in Lima"').waitFor();
    expect(await later.getByRole("status").textContent()).toBe("completed");
  });

  test("the live page shows each node, also after it was closed", async () => {
    const page = await visitor.newPage();
    await page.goto(`${pages}/live.html`);
    await page.getByRole("button", { name: "Run" }).click();
    await page.locator('[data-node="stock"][data-status="waiting"]').waitFor();
    const later = await comeBack(page);
    await later.locator('[data-node="local"][data-status="success"]').waitFor();
    await later.locator('[data-node="remote"][data-status="skipped"]').waitFor();
    await later.locator('[data-node="report"][data-status="success"]').waitFor();
    expect(await later.getByRole("progressbar").getAttribute("value")).toBe("100");
    expect(visitor.errors).toEqual([]);
  });

  test("the command ends the service and leaves no files", async () => {
    example.kill("SIGTERM");
    expect(await ended).toBe(0);
    await expect(fetch(serviceUrl)).rejects.toThrow();
    expect(readdirSync(temporary)).toEqual([]);
  });
});
