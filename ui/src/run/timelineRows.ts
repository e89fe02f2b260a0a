// The rows of the timeline: node runs, grouped by loop and by child execution.
import type { ExecutionView, NodeLog } from "workflow-orchestration-client";
import type { ChildRuns } from "./children";
import { nodeIdOf } from "./definition";

export interface Segment {
  kind: "queued" | "running" | "parked";
  start: number;
  end: number;
  attempt: number;
}

export interface Row {
  /** Unique in the timeline. */
  key: string;
  executionId: string;
  /** The node run; empty for the queue. */
  id: string;
  label: string;
  status: string | null;
  segments: Segment[];
  /** Number of runs in a group. */
  count?: number;
  attempt: number;
  /** Number of executions around it. */
  depth: number;
  childId?: string;
}

/** A part of a node run, as the service reports it. */
export interface Attempt {
  nodeId: string;
  kind: string;
  attempt: number;
  startedAt: string;
  endedAt: string | null;
}
export type Attempts = ReadonlyMap<string, readonly Attempt[]>;

export interface Source {
  execution: ExecutionView;
  createdAt: string | null | undefined;
  startedAt: string | null | undefined;
}

/** Above this number of rows, the items of a loop are one row until it is opened. */
const MAX_OPEN_ROWS = 50;

function segmentsOf(
  log: NodeLog,
  attempts: readonly Attempt[] | undefined,
  now: number,
): Segment[] {
  const start = Date.parse(log.startedAt ?? log.timestamp ?? "");
  if (Number.isNaN(start) || log.status === "skipped") return [];
  const end = log.endedAt ? Date.parse(log.endedAt) : now;
  if (attempts)
    return attempts.map((part) => ({
      kind: part.kind === "parked" ? "parked" : "running",
      start: Date.parse(part.startedAt),
      end: part.endedAt ? Date.parse(part.endedAt) : end,
      attempt: part.attempt,
    }));
  const { attempt } = log;
  if (log.status !== "waiting" || !log.waitingSince)
    return [{ kind: "running", start, end, attempt }];
  const since = Math.max(start, Date.parse(log.waitingSince));
  return [
    { kind: "running", start, end: since, attempt },
    { kind: "parked", start: since, end, attempt },
  ];
}

/** The time from the submission of an execution to its start. */
function queueOf({ execution, createdAt, startedAt }: Source, label: string, now: number): Row {
  const start = Date.parse(createdAt ?? "");
  const begin = Date.parse(startedAt ?? "");
  const end = Number.isNaN(begin) ? (execution.active ? now : start) : Math.max(start, begin);
  return {
    key: `${execution.executionId}/`,
    executionId: execution.executionId,
    id: "",
    label,
    status: "pending",
    attempt: 1,
    depth: 0,
    segments: Number.isNaN(start) ? [] : [{ kind: "queued", start, end, attempt: 1 }],
  };
}

interface Shown {
  /** Keys of open groups. */
  groups: ReadonlySet<string>;
  /** Ids of open children. */
  opened: ReadonlySet<string>;
  children: ChildRuns;
  attempts: ReadonlyMap<string, Attempts>;
  queueLabel: string;
  now: number;
}

/** Returns the rows of an execution, with those of its open children. */
export function rowsOf(source: Source, shown: Shown, depth = 0): Row[] {
  const { execution } = source;
  const { now } = shown;
  const attempts = shown.attempts.get(execution.executionId);
  const rows: Row[] = [{ ...queueOf(source, shown.queueLabel, now), depth }];
  const isCollapsing = execution.nodes.size > MAX_OPEN_ROWS;
  const groups = new Map<string, Row>();
  const looped = new Set<string>();
  for (const id of execution.nodes.keys()) if (nodeIdOf(id) !== id) looped.add(nodeIdOf(id));

  const add = (row: Row) => {
    rows.push(row);
    const child = row.childId === undefined ? undefined : shown.children.get(row.childId);
    if (row.childId === undefined || !shown.opened.has(row.childId) || !child?.execution) return;
    const { createdAt, startedAt } = child.details ?? {};
    rows.push(...rowsOf({ execution: child.execution, createdAt, startedAt }, shown, depth + 1));
  };
  for (const [id, log] of execution.nodes) {
    const nodeId = nodeIdOf(id);
    // Of a node in a loop, the runs of its items have the times.
    if (looped.has(id)) continue;
    const row: Row = {
      key: `${execution.executionId}/${id}`,
      executionId: execution.executionId,
      id,
      label: log.nodeLabel ?? id,
      status: log.status,
      segments: segmentsOf(log, attempts?.get(id), now),
      attempt: log.attempt,
      depth,
      childId: log.childExecutionId ?? undefined,
    };
    const isItem = nodeId !== id;
    if (isItem) row.label = `${row.label} ${id.slice(nodeId.length)}`;
    if (!isItem || !isCollapsing) {
      add(row);
      continue;
    }
    let group = groups.get(nodeId);
    if (!group) {
      group = { ...row, id: nodeId, key: `${execution.executionId}/${nodeId}`, childId: undefined };
      Object.assign(group, { label: log.nodeLabel ?? nodeId, segments: [], count: 0 });
      groups.set(nodeId, group);
      rows.push(group);
    }
    group.count = (group.count ?? 0) + 1;
    if (row.status === "error" || row.status === "running") group.status = row.status;
    for (const segment of row.segments) {
      const last = group.segments.findLast(({ kind }) => kind === segment.kind);
      if (last && segment.start <= last.end + 1) last.end = Math.max(last.end, segment.end);
      else group.segments.push({ ...segment });
    }
    if (shown.groups.has(group.key)) add(row);
  }
  return rows;
}
