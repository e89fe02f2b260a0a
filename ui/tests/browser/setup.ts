// Starts one service and one browser for all files of browser tests.
import { type BrowserServer, chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { browserPath, type Service, startService } from "./service";

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

declare module "vitest" {
  interface ProvidedContext {
    /** Address of the shared service. */
    service: string;
    /** Address at which tests connect to the shared browser. */
    browser: string;
  }
}

export default async function setup(project: TestProject): Promise<(() => Promise<void>) | void> {
  if (browserPath === undefined && !process.env.CI) return;
  const [service, browser]: [Service, BrowserServer] = await Promise.all([
    startService(),
    chromium.launchServer({ executablePath: browserPath, args: FLAGS, host: "127.0.0.1" }),
  ]);
  project.provide("service", service.url);
  project.provide("browser", browser.wsEndpoint());
  return async () => {
    await browser.close();
    await service.stop();
  };
}
