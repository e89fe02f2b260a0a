import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
/** Returns the serious findings of axe in light and dark mode. */
export async function seriousFindings(page: Page): Promise<string[]> {
  // The policy of the page forbids scripts of others, so that axe is evaluated.
  await page.evaluate(readFileSync(AXE, "utf8"));
  const findings: string[] = [];
  for (const scheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    await page
      .locator(`html[data-mantine-color-scheme="${scheme}"]`)
      .waitFor({ state: "attached" });
    // Colors that are still changing have another contrast.
    await page.evaluate(() =>
      Promise.allSettled(document.getAnimations().map(({ finished }) => finished)),
    );
    const found = await page.evaluate(async () => {
      interface Violation {
        id: string;
        impact: string;
        nodes: { html: string }[];
      }
      const { axe } = globalThis as unknown as {
        axe: { run: () => Promise<{ violations: Violation[] }> };
      };
      const { violations } = await axe.run();
      return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
    });
    findings.push(...found.map((finding) => `${scheme}: ${finding}`));
  }
  return findings;
}
