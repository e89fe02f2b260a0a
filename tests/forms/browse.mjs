// Opens the page in a browser's DOM, looks at every form, fills some of them in and submits them.
// In: {"catalogue": the answer of GET /api/node-types, "fill": {type: {element id: text}}}.
// Out: {"forms": {type: {"fields": {element id: {…}}, …}}, "errors": what the console said}.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { JSDOM, VirtualConsole } from "jsdom";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { catalogue, fill } = JSON.parse(readFileSync(0, "utf8"));
const built = await build({
  entryPoints: [here("page.jsx")],
  bundle: true,
  write: false,
  format: "esm",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"development"' },
});
const script = `(async () => { ${built.outputFiles[0].text} })()`;

const errors = [];
const requests = [];
const virtualConsole = new VirtualConsole();
for (const kind of ["error", "warn", "jsdomError"]) {
  virtualConsole.on(kind, (...words) => errors.push(words.map(String).join(" ").slice(0, 500)));
}
const { window } = new JSDOM(readFileSync(here("index.html"), "utf8"), {
  runScripts: "outside-only",
  pretendToBeVisual: true,
  url: "http://127.0.0.1/?service=http://service",
  virtualConsole,
});
window.fetch = async (address) => {
  requests.push(address);
  return { json: async () => catalogue };
};
window.structuredClone ??= structuredClone;
const { document } = window;

async function until(condition, what) {
  for (let look = 0; look < 2000; look += 1) {
    if (condition()) return;
    await new Promise((resume) => setTimeout(resume, 5));
  }
  throw new Error(`never: ${what}; ${errors.join("\n")}`);
}

await window.eval(script);
const sections = () => [...document.querySelectorAll("section")];
await until(() => sections().length === catalogue.length, "all forms");

const text = (element) => element?.textContent.trim() ?? null;
function seen(element) {
  const { id, tagName, type, value, checked, placeholder } = element;
  return {
    tag: tagName.toLowerCase(),
    type,
    value: type === "checkbox" ? checked : value,
    placeholder,
    label: text(document.querySelector(`label[for="${id}"]`)) ?? text(element.closest("label")),
    options: tagName === "SELECT" ? [...element.options].map((option) => option.label) : undefined,
  };
}

const forms = {};
for (const section of sections()) {
  const fields = {};
  for (const element of section.querySelectorAll("input[id], select[id], textarea[id]")) {
    fields[element.id] = seen(element);
  }
  forms[section.dataset.type] = {
    title: text(section.querySelector("h2")),
    fields,
    names: [...section.querySelectorAll("label, legend")].map(text),
    descriptions: [...section.querySelectorAll("[id$='__description']")].map(text),
    unsupported: section.querySelectorAll(".unsupported-field").length,
  };
}

// Types into a field as a person does: React listens for the event, not for the property.
function type(element, value) {
  const prototype = Object.getPrototypeOf(element);
  Object.getOwnPropertyDescriptor(prototype, "value").set.call(element, value);
  const name = element.tagName === "SELECT" ? "change" : "input";
  element.dispatchEvent(new window.Event(name, { bubbles: true }));
}

for (const [name, values] of Object.entries(fill)) {
  const section = document.querySelector(`section[data-type="${name}"]`);
  for (const [id, value] of values) {
    await until(() => document.getElementById(id), `field ${id}`);
    type(document.getElementById(id), value);
    await until(() => document.getElementById(id)?.value === value, `${id} shows ${value}`);
  }
  section.querySelector("button[type=submit]").click();
  const config = section.querySelector(".config");
  const faults = () => [...section.querySelectorAll(".error-detail li")].map(text);
  await until(() => config.textContent || faults().length, `${name} is sent or refused`);
  forms[name].sent = config.textContent ? JSON.parse(config.textContent) : null;
  forms[name].faults = faults();
  forms[name].after = Object.fromEntries(
    [...section.querySelectorAll("input[id], select[id], textarea[id]")].map((element) => [
      element.id,
      seen(element),
    ]),
  );
}
// The exit would otherwise cut what a pipe has not taken yet.
process.stdout.write(`${JSON.stringify({ forms, errors, requests })}\n`, () => process.exit(0));
