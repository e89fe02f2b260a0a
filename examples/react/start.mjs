// Starts the service on a database of its own, saves the workflow, and serves both pages on loopback.
// Ctrl-C ends both and removes the database. Environment: API_PORT, PAGE_PORT, PYTHON.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import react from "@vitejs/plugin-react";
import { createServer } from "vite";

const ROOT = join(import.meta.dirname, "../..");
const HOST = "127.0.0.1";
const IS_WINDOWS = process.platform === "win32";
const { API_PORT = "8000", PAGE_PORT = "5173", PYTHON } = process.env;
const url = `http://${HOST}:${API_PORT}`;
const directory = mkdtempSync(join(tmpdir(), "workflow-example-"));
let service;
let pages;

function startService() {
  // Without PYTHON, the start script creates the environment first.
  const command = PYTHON ?? (IS_WINDOWS ? "start.bat" : "./start.sh");
  const child = spawn(command, PYTHON ? ["start_service.py"] : [], {
    cwd: ROOT,
    env: {
      ...process.env,
      API_HOST: HOST,
      API_PORT,
      API_KEYS: "",
      API_KEYS_FILE: "",
      DATABASE_PATH: join(directory, "database.sqlite"),
      DATABASE_URL: "",
      PREFECT_API_URL: "",
      PREFECT_HOME: join(directory, "prefect"),
    },
    shell: IS_WINDOWS && !PYTHON,
    // Otherwise Ctrl-C also ends the service, before the pages.
    detached: !IS_WINDOWS,
    stdio: ["ignore", "inherit", "inherit"],
  });
  child.once("exit", (code) => void stop(code ?? 1));
  return child;
}

async function serviceIsReady() {
  while (!(await fetch(`${url}/health/ready`).catch(() => null))?.ok) {
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function saveWorkflow() {
  const data = JSON.parse(readFileSync(join(import.meta.dirname, "src/city-report.json"), "utf8"));
  const response = await fetch(`${url}/api/workflows`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id: "city-report", name: "City report", data }),
  });
  if (!response.ok) throw new Error(`The workflow was not saved: ${await response.text()}`);
}

async function servePages() {
  process.env.VITE_SERVICE_URL = url;
  const server = await createServer({
    root: import.meta.dirname,
    configFile: false,
    plugins: [react()],
    cacheDir: join(directory, "vite"),
    logLevel: "warn",
    server: { host: HOST, port: Number(PAGE_PORT), strictPort: true },
  });
  return server.listen();
}

/** Ends the pages and the service, and removes the database. */
async function stop(code) {
  process.removeAllListeners("SIGINT").removeAllListeners("SIGTERM");
  await pages?.close();
  if (service && service.exitCode === null && service.signalCode === null) {
    service.removeAllListeners("exit");
    const ended = new Promise((resolve) => service.once("exit", resolve));
    if (IS_WINDOWS) spawnSync("taskkill", ["/pid", String(service.pid), "/T", "/F"]);
    else service.kill("SIGTERM");
    await ended;
  }
  rmSync(directory, { recursive: true, force: true });
  process.exit(code);
}

for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void stop(0));
try {
  // A service that runs already would answer instead of this one.
  if (await fetch(url).catch(() => null)) {
    throw new Error(`Port ${API_PORT} is in use; set API_PORT to another one`);
  }
  service = startService();
  await serviceIsReady();
  await saveWorkflow();
  pages = await servePages();
  console.log(`The classic page: http://${HOST}:${PAGE_PORT}/classic.html`);
  console.log(`The live page:    http://${HOST}:${PAGE_PORT}/live.html`);
  console.log(`The run page:     ${url}/ui`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  await stop(1);
}
