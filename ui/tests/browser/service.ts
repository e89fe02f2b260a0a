// A service with an empty database, and a visitor who opens its pages in the shared browser.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { inject } from "vitest";

export const ROOT = join(import.meta.dirname, "../../..");
export const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const START_TIMEOUT_MS = 60_000;

export const browserPath = BROWSERS.find((path) => existsSync(path));
/** Browser tests are skipped on a machine without a browser, except in CI. */
export const hasNoBrowser = browserPath === undefined && !process.env.CI;

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export interface Service {
  url: string;
  stop: () => Promise<void>;
}

/** Starts a service on a free port of loopback, with a database of its own. */
export async function startService(settings: Record<string, string> = {}): Promise<Service> {
  const directory = mkdtempSync(join(tmpdir(), "run-page-"));
  const port = await freePort();
  const child = spawn(PYTHON, ["start_service.py"], {
    cwd: ROOT,
    env: {
      ...process.env,
      API_HOST: "127.0.0.1",
      API_PORT: String(port),
      DATABASE_PATH: join(directory, "database.sqlite"),
      PREFECT_HOME: join(directory, "prefect"),
      ...settings,
    },
    stdio: "ignore",
  });
  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await fetch(url).catch(() => null))?.ok) {
    if (Date.now() > deadline || child.exitCode !== null)
      throw new Error("The service did not start");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  return { url, stop };
}

/** Opens pages, and keeps what they request and which errors they have. */
export class Visitor {
  /** Addresses of all requests of the pages. */
  readonly requests: string[] = [];
  /** Errors that the pages logged or threw. */
  readonly errors: string[] = [];

  private constructor(
    readonly url: string,
    private readonly browser: Browser,
  ) {}

  /** Connects to the shared browser. `url`: another address than that of the shared service. */
  static async connect(url: string = inject("service")): Promise<Visitor> {
    return new Visitor(url, await chromium.connect(inject("browser")));
  }

  /** Opens a view of the run page, in a context of its own. */
  async open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
    const page = await this.newPage(options);
    await page.goto(`${this.url}/ui${path}`);
    return page;
  }

  async newPage(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.browser.newContext({
      locale: "en-US",
      viewport: { width: 1360, height: 850 },
      ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") this.errors.push(message.text());
    });
    return page;
  }

  /** Requests that went to another address than the service. */
  foreignRequests(): string[] {
    return this.requests.filter((url) => !url.startsWith(this.url) && !url.startsWith("data:"));
  }

  /** Calls the service, and returns its JSON response. */
  async call<Result>(path: string, body?: object, key?: string): Promise<Result> {
    const response = await fetch(this.url + path, {
      method: body ? "POST" : "GET",
      headers: {
        "Content-Type": "application/json",
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
      },
      body: body && JSON.stringify(body),
    });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Result;
  }

  /** Starts an execution, and returns its id. */
  async start(body: object, key?: string): Promise<string> {
    type Started = { executionId: string };
    return (await this.call<Started>("/api/workflows/execute", body, key)).executionId;
  }

  /** Waits until an execution has ended, and returns its status. */
  async ended(id: string): Promise<string> {
    for (;;) {
      const path = `/api/executions/${id}?waitSeq=1000000000&maxPayloadCharacters=1`;
      const { status } = await this.call<{ status: string }>(path);
      if (!["pending", "running", "waiting"].includes(status)) return status;
    }
  }

  async close(): Promise<void> {
    await this.browser.close();
  }
}
