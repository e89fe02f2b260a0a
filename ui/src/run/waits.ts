// Waits of nodes: which change ends the wait of a node run, and who may end it.
import type { NodeLog } from "workflow-orchestration-client";
import { formatTime } from "../app/format";

type WaitingFor = Exclude<NodeLog["waitingFor"], null>;

/** The waits that no answer of people ends. */
const TEXTS: Record<Exclude<WaitingFor, "resume">, string> = {
  time: "Waits until {{time}}",
  retry: "The next attempt starts at {{time}}",
  permit: "Waits for a permit of a concurrency limit",
  child: "Waits for the end of another execution",
  items: "Waits for its items",
  event: "Waits for an event",
};

/** Returns the text that names the end of a wait, and its values; null without such a wait. */
export function waitText(
  { waitingFor, waitUntil }: Pick<NodeLog, "waitingFor" | "waitUntil">,
  language: string,
): { text: string; values: { time: string } } | null {
  if (waitingFor === null || waitingFor === "resume") return null;
  const text = TEXTS[waitingFor];
  // A service of a newer version may have other waits.
  return text === undefined ? null : { text, values: { time: formatTime(waitUntil, language) } };
}

/** Whether people or a program end the wait of a node. */
export const waitsForAnswer = (log: NodeLog): boolean => log.waitingFor === "resume";

/** Whether people end, or ended, the wait of a node. It has a task only then. */
export const mayHaveTask = (log: NodeLog): boolean =>
  waitsForAnswer(log) ||
  ((log.nodeType === "approval" || log.nodeType === "humanApproval") &&
    log.status !== "running" &&
    log.waitingFor === null &&
    (log.waitedMs ?? log.waitingSince) !== null);
