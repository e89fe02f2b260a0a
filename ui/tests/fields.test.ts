import { expect, test } from "vitest";
import {
  changedOf,
  dataOf,
  draftOf,
  fieldOfValue,
  formOf,
  placeProblems,
  pointersOf,
} from "../src/forms/fields";

const SCHEMA = {
  properties: {
    amount: { type: "integer", title: "Amount", default: 7 },
    note: { type: ["string", "null"], maxLength: 500, description: "Why?" },
    size: { enum: ["S", 2, null] },
    speed: { oneOf: [{ const: 1, title: "Slow" }, { const: 9 }] },
    urgent: { type: "boolean" },
    agreed: { type: "boolean" },
    day: { type: "string", format: "date" },
    at: { format: "date-time" },
    hour: { type: "string", format: "time" },
    address: { $ref: "#/definitions/address" },
    tags: { type: "array", items: { type: "string" } },
    colors: { type: "array", uniqueItems: true, items: { enum: ["red", "green"] } },
    version: { const: 3 },
    anything: {},
  },
  required: ["amount", "agreed", "address"],
  definitions: {
    place: { properties: { city: { type: "string" } }, required: ["city"] },
    address: {
      title: "Address",
      allOf: [{ $ref: "#/definitions/place" }, { properties: { zip: { type: "number" } } }],
    },
  },
};

test("each part of a schema has the input of its type", () => {
  const form = formOf(SCHEMA);
  expect(Object.fromEntries(form.fields.map(({ name, kind }) => [name, kind]))).toEqual({
    amount: "number",
    note: "textarea",
    size: "select",
    speed: "select",
    urgent: "checkbox",
    agreed: "checkbox",
    day: "date",
    at: "dateTime",
    hour: "time",
    address: "object",
    tags: "list",
    colors: "choices",
    version: "constant",
    anything: "json",
  });
  const address = form.fields.find(({ name }) => name === "address");
  expect(address).toMatchObject({
    title: "Address",
    isRequired: true,
    fields: [
      { name: "city", kind: "text", isRequired: true },
      { name: "zip", kind: "number", isRequired: false },
    ],
  });
  expect(form.fields[3]?.options).toEqual([
    { label: "Slow", value: 1 },
    { label: "9", value: 9 },
  ]);
});

test("blank fields are left out, and proposed values are sent", () => {
  const form = formOf(SCHEMA);
  expect(dataOf(form, draftOf(form))).toEqual({
    amount: 7,
    agreed: false,
    address: {},
    version: 3,
  });
});

test("the texts of a form become values of their types", () => {
  const form = formOf(SCHEMA);
  const value = dataOf(form, {
    amount: "12",
    note: "because",
    size: "1",
    speed: "0",
    urgent: false,
    agreed: true,
    day: "2026-11-28",
    at: "2026-11-28T10:00",
    hour: "09:30",
    address: { city: "Lima", zip: "many" },
    tags: ["a", ""],
    colors: ["1"],
    anything: '{"a": [1]}',
  });
  expect(value).toEqual({
    amount: 12,
    note: "because",
    size: 2,
    speed: 1,
    urgent: false,
    agreed: true,
    day: "2026-11-28",
    at: new Date("2026-11-28T10:00").toISOString(),
    hour: "09:30:00",
    address: { city: "Lima", zip: "many" },
    tags: ["a", ""],
    colors: ["green"],
    version: 3,
    anything: { a: [1] },
  });
  expect(dataOf(form, draftOf(form, value))).toEqual(value);
});

test("a problem is shown at its field, at the nearest part of the form, or above it", () => {
  const form = formOf(SCHEMA);
  const pointers = pointersOf(form, { ...(draftOf(form) as object), tags: ["a"] }, "/data");
  const placed = placeProblems(
    [
      { pointer: "/data/amount", detail: "data.amount: 1 is too small" },
      { pointer: "/data/tags/0", detail: "data.tags.0: 'a' is too short" },
      { pointer: "/data/anything/a/0", detail: "data.anything.a.0: 1 is not a string" },
      { pointer: "/data/address/city", detail: "'city' is required" },
      { pointer: "/assignee", detail: "unknown" },
      { pointer: "/assignee", detail: "again" },
    ],
    pointers,
  );
  expect([...placed]).toEqual([
    ["/data/amount", "1 is too small"],
    ["/data/tags/0", "'a' is too short"],
    ["/data/anything", "1 is not a string"],
    ["/data/address/city", "'city' is required"],
    ["", "unknown; again"],
  ]);
});

test.each([
  [true, "checkbox", true, true, true],
  [25, "number", "25", "26", 26],
  ["Lima", "text", "Lima", "25", "25"],
  ["Lima", "text", "Lima", "", ""],
  ["a\nb", "textarea", "a\nb", "c", "c"],
  [[1], "json", "[\n  1\n]", "[2]", [2]],
  [{ a: 1 }, "json", '{\n  "a": 1\n}', "", null],
  [null, "any", "", "[2]", [2]],
  [undefined, "any", "", "two", "two"],
])("the input of the value %j is of its type", (initial, kind, first, draft, value) => {
  const field = fieldOfValue("n", "N", "", initial);
  expect(field.kind).toBe(kind);
  expect(draftOf(field)).toBe(first);
  expect(changedOf(field, draft)).toEqual(value);
});
