import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { es } from "../src/app/es";

const SOURCE = join(import.meta.dirname, "../src");
const sources = readdirSync(SOURCE, { recursive: true })
  .map(String)
  .filter((name) => /\.tsx?$/.test(name) && !name.endsWith("es.ts"))
  .map((name) => readFileSync(join(SOURCE, name), "utf8"))
  .join("\n");
const used = [...sources.matchAll(/\bt\(\s*"((?:[^"\\]|\\.)*)"/g)].map(
  (match) => match[1] as string,
);

test("every text of the page has a Spanish translation", () => {
  expect(used.length).toBeGreaterThan(100);
  expect(used.filter((text) => !(text in es))).toEqual([]);
});

test("a translation has the same values as its text, and is in use", () => {
  const values = (text: string) => (text.match(/\{\{\w+\}\}/g) ?? []).sort();
  for (const [text, translation] of Object.entries(es)) {
    expect(values(translation), text).toEqual(values(text));
    expect(sources, text).toContain(`"${text}"`);
  }
});
