// The fields of a JSON Schema, the drafts that their inputs show, and the values of the drafts.
// The service validates the values, so that a schema has one meaning for all clients.

type Item = Record<string, unknown>;
const isItem = (value: unknown): value is Item =>
  value !== null && typeof value === "object" && !Array.isArray(value);

export type FieldKind =
  | "text"
  | "textarea"
  | "email"
  | "date"
  | "dateTime"
  | "time"
  | "number"
  | "checkbox"
  | "select"
  | "choices"
  | "list"
  | "object"
  | "constant"
  | "json"
  /** A text, or the JSON value that it is. */
  | "any";

export interface Option {
  label: string;
  value: unknown;
}

export interface Field {
  name: string;
  title: string;
  description: string;
  kind: FieldKind;
  isRequired: boolean;
  /** The value that the schema proposes. */
  initial: unknown;
  /** Of a `select`, and of the items of `choices`. */
  options: readonly Option[];
  /** Of an `object`. */
  fields: readonly Field[];
  /** Of the items of a `list`. */
  item?: Field;
}

/** What an input shows: a text, a checkbox, the items of a list, or the drafts of an object. */
export type Draft = string | boolean | Draft[] | { [name: string]: Draft } | undefined;

/** Texts that may be longer than this have several lines. */
const MAX_LINE_CHARS = 200;
const FORMATS: Record<string, FieldKind> = {
  date: "date",
  "date-time": "dateTime",
  time: "time",
  email: "email",
};

/** Returns the field of a schema whose type is an object. */
export function formOf(schema: Item): Field {
  return fieldOf(schema, schema, "", true);
}

/** Returns the place that a reference such as `#/definitions/city` names. */
function target(root: Item, reference: string): unknown {
  let value: unknown = root;
  for (const step of reference === "#" ? [] : reference.slice(2).split("/")) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    value = isItem(value) || Array.isArray(value) ? (value as Item)[name] : undefined;
  }
  return value;
}

/** Returns a schema without its references, and with the parts of its `allOf`. */
function resolve(root: Item, schema: unknown): Item {
  if (!isItem(schema)) return {};
  const { $ref, allOf, ...own } = schema;
  const parts: unknown[] = Array.isArray(allOf) ? [...allOf] : [];
  if (typeof $ref === "string" && $ref.startsWith("#")) parts.unshift(target(root, $ref));
  let merged: Item = {};
  for (const part of [...parts.map((each) => resolve(root, each)), own]) {
    const before = merged;
    merged = { ...before, ...part };
    if (isItem(before.properties) && isItem(part.properties))
      merged.properties = { ...before.properties, ...part.properties };
    if (Array.isArray(before.required) && Array.isArray(part.required))
      merged.required = [...before.required, ...part.required];
  }
  return merged;
}

const asText = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value);

function optionsOf(root: Item, schema: Item): Option[] | undefined {
  if (Array.isArray(schema.enum))
    return schema.enum.map((value) => ({ label: asText(value), value }));
  const variants = schema.oneOf ?? schema.anyOf;
  if (!Array.isArray(variants)) return undefined;
  const options = variants.map((each) => resolve(root, each));
  if (!options.every((each) => "const" in each)) return undefined;
  return options.map((each) => ({
    label: typeof each.title === "string" ? each.title : asText(each.const),
    value: each.const,
  }));
}

/** Returns the type of a schema; of several ones, the only one besides null. */
function typeOf(schema: Item): unknown {
  if (!Array.isArray(schema.type))
    return schema.type ?? (isItem(schema.properties) ? "object" : undefined);
  const types = schema.type.filter((type) => type !== "null");
  return types.length === 1 ? types[0] : undefined;
}

function fieldOf(root: Item, unresolved: unknown, name: string, isRequired: boolean): Field {
  const schema = resolve(root, unresolved);
  const type = typeOf(schema);
  const field: Field = {
    name,
    title: typeof schema.title === "string" && schema.title ? schema.title : name,
    description: typeof schema.description === "string" ? schema.description : "",
    kind: "json",
    isRequired,
    initial: schema.default,
    options: optionsOf(root, schema) ?? [],
    fields: [],
  };
  if ("const" in schema) return { ...field, kind: "constant", initial: schema.const };
  if (field.options.length > 0) return { ...field, kind: "select" };
  if (type === "boolean") return { ...field, kind: "checkbox" };
  if (type === "number" || type === "integer") return { ...field, kind: "number" };
  if (type === "object" && isItem(schema.properties)) {
    const required = Array.isArray(schema.required) ? schema.required : [];
    const fields = Object.entries(schema.properties).map(([key, value]) =>
      fieldOf(root, value, key, required.includes(key)),
    );
    return { ...field, kind: "object", fields };
  }
  if (type === "array" && isItem(schema.items)) {
    const item = fieldOf(root, schema.items, "", true);
    if (item.kind === "select" && schema.uniqueItems === true)
      return { ...field, kind: "choices", options: item.options };
    return { ...field, kind: "list", item };
  }
  const isText = type === "string" || (type === undefined && typeof schema.format === "string");
  if (!isText) return field;
  const isLong = typeof schema.maxLength === "number" && schema.maxLength > MAX_LINE_CHARS;
  return { ...field, kind: isLong ? "textarea" : (FORMATS[String(schema.format)] ?? "text") };
}

/** Returns the field of a value that has no schema: its type is that of the value. */
export function fieldOfValue(
  name: string,
  title: string,
  description: string,
  initial: unknown,
): Field {
  const kinds: Record<string, FieldKind> = {
    boolean: "checkbox",
    number: "number",
    string: /\n/.test(String(initial)) ? "textarea" : "text",
    object: "json",
  };
  const kind = initial === null ? "any" : (kinds[typeof initial] ?? "any");
  return {
    name,
    title,
    description,
    kind,
    isRequired: false,
    initial: initial ?? undefined,
    options: [],
    fields: [],
  };
}

/** Returns the value of a changed draft; a blank one replaces the initial value too. */
export function changedOf(field: Field, draft: Draft): unknown {
  const isText = ["text", "textarea", "any"].includes(field.kind);
  return dataOf(field, draft) ?? (isText ? "" : null);
}

const twoDigits = (value: number): string => String(value).padStart(2, "0");

/** Returns a time as an input of the browser shows it: in the local zone. */
function localTime(text: unknown): string {
  const at = new Date(String(text));
  if (Number.isNaN(at.getTime())) return "";
  const date = `${at.getFullYear()}-${twoDigits(at.getMonth() + 1)}-${twoDigits(at.getDate())}`;
  return `${date}T${twoDigits(at.getHours())}:${twoDigits(at.getMinutes())}`;
}

/** Returns what the input of a field shows for a value; by default for the proposed one. */
export function draftOf(field: Field, value: unknown = field.initial): Draft {
  switch (field.kind) {
    case "object": {
      const item = isItem(value) ? value : {};
      return Object.fromEntries(
        field.fields.map((each) => [each.name, draftOf(each, item[each.name] ?? each.initial)]),
      );
    }
    case "list":
      return Array.isArray(value) ? value.map((each) => draftOf(field.item as Field, each)) : [];
    case "choices":
      return Array.isArray(value)
        ? value.map((each) => indexOf(field, each)).filter((index) => index !== "")
        : [];
    case "select":
      return value === undefined ? "" : indexOf(field, value);
    case "checkbox":
      return typeof value === "boolean" ? value : undefined;
    case "dateTime":
      return localTime(value);
    case "json":
      return value === undefined ? "" : JSON.stringify(value, null, 2);
    default:
      return value === undefined || value === null ? "" : asText(value);
  }
}

/** Returns the position of an option, which is its value in the page. */
function indexOf(field: Field, value: unknown): string {
  const wanted = JSON.stringify(value);
  const index = field.options.findIndex((option) => JSON.stringify(option.value) === wanted);
  return index < 0 ? "" : String(index);
}

/**
 * Returns the value of a draft; undefined if the field is blank. A text that is not a number or not
 * JSON remains a text, so that the service rejects it with the pointer of its field.
 */
export function dataOf(field: Field, draft: Draft): unknown {
  switch (field.kind) {
    case "object": {
      const drafts = (draft ?? {}) as Record<string, Draft>;
      const entries = field.fields
        .map((each) => [each.name, dataOf(each, drafts[each.name])] as const)
        .filter(([, value]) => value !== undefined);
      return entries.length > 0 || field.isRequired ? Object.fromEntries(entries) : undefined;
    }
    case "list": {
      const items = ((draft ?? []) as Draft[]).map((each) => dataOf(field.item as Field, each));
      return items.length > 0 || field.isRequired ? items.map((each) => each ?? "") : undefined;
    }
    case "choices": {
      const chosen = ((draft ?? []) as string[]).map(
        (index) => field.options[Number(index)]?.value,
      );
      return chosen.length > 0 || field.isRequired ? chosen : undefined;
    }
    case "checkbox":
      return draft ?? (field.isRequired ? false : undefined);
    case "constant":
      return field.initial;
  }
  const text = typeof draft === "string" ? draft : "";
  if (text.trim() === "") return undefined;
  if (field.kind === "select") return field.options[Number(text)]?.value;
  if (field.kind === "number" || field.kind === "json" || field.kind === "any") return parsed(text);
  if (field.kind === "time" && /^\d\d:\d\d$/.test(text)) return `${text}:00`;
  if (field.kind === "dateTime") {
    const at = new Date(text);
    return Number.isNaN(at.getTime()) ? text : at.toISOString();
  }
  return text;
}

/** Returns the JSON value that a text is, otherwise the text. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Returns the pointer of a field in an object or a list. */
export const pointerTo = (pointer: string, step: string | number): string =>
  `${pointer}/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`;

export interface FieldProblem {
  pointer: string;
  detail: string;
}

/** Returns the pointers of all inputs of a form, which can show a problem. */
export function pointersOf(field: Field, draft: Draft, pointer: string): string[] {
  const own = [pointer];
  if (field.kind === "object")
    for (const each of field.fields)
      own.push(
        ...pointersOf(
          each,
          (draft as Record<string, Draft> | undefined)?.[each.name],
          pointerTo(pointer, each.name),
        ),
      );
  if (field.kind === "list")
    ((draft ?? []) as Draft[]).forEach((each, index) => {
      own.push(...pointersOf(field.item as Field, each, pointerTo(pointer, index)));
    });
  return own;
}

/** Returns the problems by the pointer of the nearest input. Others have the empty pointer. */
export function placeProblems(
  problems: readonly FieldProblem[],
  pointers: readonly string[],
): ReadonlyMap<string, string> {
  const known = new Set(pointers);
  const placed = new Map<string, string>();
  for (const { pointer, detail } of problems) {
    let place = pointer;
    while (place !== "" && !known.has(place)) place = place.slice(0, place.lastIndexOf("/"));
    // The service names the field, which the page shows next to the problem.
    const prefix = `${pointer.slice(1).replaceAll("/", ".")}: `;
    const text = place !== "" && detail.startsWith(prefix) ? detail.slice(prefix.length) : detail;
    const before = placed.get(place);
    placed.set(place, before === undefined ? text : `${before}; ${text}`);
  }
  return placed;
}
