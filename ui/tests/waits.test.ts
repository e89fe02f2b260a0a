import { expect, test } from "vitest";
import type { NodeLog } from "workflow-orchestration-client";
import { es } from "../src/app/es";
import { mayHaveTask, waitsForAnswer, waitText } from "../src/run/waits";

const log = (waitingFor: NodeLog["waitingFor"], more: Partial<NodeLog> = {}) =>
  ({
    nodeType: "approval",
    status: "waiting",
    waitingFor,
    waitUntil: "2026-06-01T00:00:00.000Z",
    waitedMs: null,
    waitingSince: "2026-05-31T00:00:00.000Z",
    ...more,
  }) as NodeLog;
const OTHERS = ["time", "retry", "permit", "child", "items", "event"] as const;

test.each(OTHERS)("a node that waits for %s has a text in both languages, and no task", (wait) => {
  const found = waitText(log(wait), "en-US");
  expect(found?.text).toMatch(/^(Waits|The next attempt) /);
  expect(es).toHaveProperty([found?.text ?? ""]);
  expect(found?.values.time).toContain("2026");
  expect([waitsForAnswer(log(wait)), mayHaveTask(log(wait))]).toEqual([false, false]);
});

test("only a node that waits for people or a program takes an answer", () => {
  const custom = log("resume", { nodeType: "custom", lastError: "the attempt before failed" });
  expect([waitsForAnswer(custom), mayHaveTask(custom)]).toEqual([true, true]);
  expect(waitText(custom, "en-US")).toBeNull();
});

test("an approval shows its task after its answer, and not in a later attempt", () => {
  const answered = log(null);
  expect([waitsForAnswer(answered), mayHaveTask(answered)]).toEqual([false, true]);
  const ended = { status: "completed", waitingSince: null, waitedMs: 5 } as const;
  expect(mayHaveTask(log(null, ended))).toBe(true);
  expect(mayHaveTask(log(null, { ...ended, nodeType: "wait" }))).toBe(false);
  expect(mayHaveTask(log(null, { ...ended, status: "running" }))).toBe(false);
});

test("the page shows nothing for a wait that it does not know", () =>
  expect(waitText(log("moon" as NodeLog["waitingFor"]), "en-US")).toBeNull());
