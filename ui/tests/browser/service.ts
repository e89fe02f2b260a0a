// A service with an empty database, and a browser that shows its page.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

const ROOT = join(import.meta.dirname, "../../..");
const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const START_TIMEOUT_MS = 60_000;

export const browserPath = BROWSERS.find((path) => existsSync(path));

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export class ShownService {
  /** Addresses of all requests of the pages. */
  readonly requests: string[] = [];
  /** Errors that the pages logged or threw. */
  readonly errors: string[] = [];

  private constructor(
    readonly url: string,
    private readonly process: ChildProcess,
    private readonly directory: string,
    private readonly browser: Browser,
  ) {}

  static async start(settings: Record<string, string> = {}): Promise<ShownService> {
    const directory = mkdtempSync(join(tmpdir(), "run-page-"));
    const port = await freePort();
    const python = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
    const child = spawn(python, ["start_service.py"], {
      cwd: ROOT,
      env: {
        ...process.env,
        ...settings,
        API_HOST: "127.0.0.1",
        API_PORT: String(port),
        DATABASE_PATH: join(directory, "database.sqlite"),
        PREFECT_HOME: join(directory, "prefect"),
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
    const browser = await chromium.launch({ executablePath: browserPath, args: FLAGS });
    return new ShownService(url, child, directory, browser);
  }

  async open(path: string): Promise<Page> {
    const context = await this.browser.newContext({
      locale: "en-US",
      viewport: { width: 1360, height: 850 },
    });
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") this.errors.push(message.text());
    });
    await page.goto(`${this.url}/ui${path}`);
    return page;
  }

  async start(body: object): Promise<string> {
    const response = await fetch(`${this.url}/api/workflows/execute`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return ((await response.json()) as { executionId: string }).executionId;
  }

  async stop(): Promise<void> {
    await this.browser.close();
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGTERM");
    await ended;
    rmSync(this.directory, { recursive: true, force: true });
  }
}
