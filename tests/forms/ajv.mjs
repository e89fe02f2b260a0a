// Compiles every schema of the catalogue with the real Ajv in strict mode, and tries configs on it.
// In: {"catalogue": the answer of GET /api/node-types, "configs": [{"type", "config"}]}.
// Out: {"compiled": [type], "refusals": {type: why}, "verdicts": [null or why not]}.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const { catalogue, configs } = JSON.parse(readFileSync(0, "utf8"));
const logged = [];
const note = (...words) => logged.push(words.join(" "));
const logger = { log: note, warn: note, error: note };
const validators = {};
const refusals = {};
for (const { type, schema } of catalogue) {
  const ajv = new Ajv({ strict: true, allErrors: true, logger });
  addFormats(ajv);
  try {
    validators[type] = ajv.compile(schema);
  } catch (error) {
    refusals[type] = error.message;
  }
}
const verdicts = configs.map(({ type, config }) => {
  const validate = validators[type];
  if (validate === undefined) return "no schema";
  return validate(config) ? null : JSON.stringify(validate.errors);
});
console.log(JSON.stringify({ compiled: Object.keys(validators), refusals, verdicts, logged }));
