// Fails if the built files of the repository differ from those that were just built, or if the files
// that the first page loads are too large.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const MAX_FIRST_LOAD_BYTES = 250_000;
const files = fileURLToPath(new URL("../../api/ui_files/", import.meta.url));

const page = readFileSync(`${files}index.html`, "utf8");
const names = new Set(Array.from(page.matchAll(/\/ui\/(assets\/[^"]+)/g), (match) => match[1]));
const sizes = Array.from(names, (name) => gzipSync(readFileSync(files + name)).length);
const total = sizes.reduce((sum, size) => sum + size, 0);
console.log(`First load: ${names.size} files, ${(total / 1000).toFixed(1)} kB gzipped`);
if (total > MAX_FIRST_LOAD_BYTES) {
  console.error(`The first load is larger than ${MAX_FIRST_LOAD_BYTES / 1000} kB`);
  process.exitCode = 1;
}
if (/<script(?![^>]*\bsrc=)|<style|\son\w+=/i.test(page)) {
  console.error(
    "index.html has an inline script or style, which the Content-Security-Policy blocks",
  );
  process.exitCode = 1;
}
const changed = execFileSync("git", ["status", "--porcelain", "--", files], { encoding: "utf8" });
if (changed !== "") {
  console.error(`api/ui_files is stale: run \`npm run build\` and commit it\n${changed}`);
  process.exitCode = 1;
}
