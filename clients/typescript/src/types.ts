// Names for the types that the OpenAPI document generates.
import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];

export type Execution = Schemas["ExecutionResponse"];
export type ExecutionSummary = Schemas["ListedExecutionResponse"];
export type ExecutionStatus = NonNullable<ExecutionMessage["status"]>;
export type ExecuteRequest = Schemas["ExecuteRequest"];
export type ExecuteResponse = Schemas["ExecuteResponse"];
export type RerunRequest = Schemas["RerunRequest"];
export type RerunResponse = Schemas["RerunResponse"];
export type ResumeRequest = Schemas["ResumeRequest"];
export type NodeLog = Schemas["NodeLogResponse"];
export type NodeStatus = NonNullable<NodeLog["status"]>;
export type LogPage = Schemas["LogsResponse"];
export type NodeType = Schemas["NodeTypeResponse"];
export type NodeExecuteRequest = Schemas["NodeExecuteRequest"];
export type NodeExecuteResponse = Schemas["NodeExecuteResponse"];
export type ExecutionUsage = Schemas["ExecutionUsageResponse"];
export type WorkflowUsage = Schemas["WorkflowUsageResponse"];
export type Progress = Schemas["ProgressResponse"];
export type DocumentProblem = Schemas["DocumentProblemResponse"];
export type ValidateRequest = Schemas["ValidateRequest"];
export type ValidateResponse = Schemas["ValidateResponse"];
export type Workflow = Schemas["WorkflowResponse"];
export type WorkflowSummary = Schemas["WorkflowSummaryResponse"];
export type CreateWorkflowRequest = Schemas["CreateWorkflowRequest"];
export type UpdateWorkflowRequest = Schemas["UpdateWorkflowRequest"];
export type Task = Schemas["TaskResponse"];
export type TaskSummary = Schemas["ListedTaskResponse"];
export type TaskPage = Schemas["TasksResponse"];
export type KeptEvent = Schemas["KeptEventResponse"];
export type KeptEventPage = Schemas["KeptEventsResponse"];
export type TaskStatus = TaskSummary["status"];
export type CompleteTaskRequest = Schemas["CompleteTaskRequest"];
export type TaskLinkRequest = Schemas["TaskLinkRequest"];
export type TaskLink = Schemas["TaskLinkResponse"];
export type FailureGroup = Schemas["FailureGroupResponse"];
export type BulkFilter = Schemas["BulkFilterRequest"];
export type BulkResponse = Schemas["BulkResponse"];
export type BulkProgress = Schemas["BulkProgressResponse"];
export type Schedule = Schemas["ScheduleResponse"];
export type ScheduleDetail = Schemas["ScheduleDetailResponse"];
export type BackfillRequest = Schemas["BackfillRequest"];
export type Backfill = Schemas["BackfillResponse"];
export type ExecutionMessage = Schemas["ExecutionMessage"];

/** Output of a node that is still running, such as the tokens of a model. It is not stored. */
export interface NodeOutputDelta {
  type: "node_output_delta";
  executionId: string;
  nodeId: string;
  attempt: number;
  delta: string;
  /** The item of a model node that makes one request for each record. */
  index?: number;
  question?: string;
}

/** What a stream delivers. */
export type Message = ExecutionMessage | NodeOutputDelta;

export type QueryOf<Name extends keyof operations> = operations[Name] extends {
  parameters: { query?: infer Query };
}
  ? NonNullable<Query>
  : never;
export type ExecutionFilter = QueryOf<"listExecutions">;
export type LogQuery = QueryOf<"getExecutionLogs">;
export type TaskFilter = QueryOf<"listTasks">;
export type KeptEventFilter = QueryOf<"listKeptEvents">;
export type FailureFilter = QueryOf<"listFailures">;

/** One action on many executions: on these ids, or on all that a filter matches. */
export type BulkRequest = Omit<Schemas["BulkRequestBody"], "ids" | "filter" | "dryRun"> &
  ({ ids: string[] } | { filter: BulkFilter });

/** A payload that the service left out because of its size. */
export interface TruncatedPayload {
  truncated: true;
  /** Characters of JSON. */
  size: number;
  preview: string;
}

/** Returns whether a payload was left out, so that the log of its node has to be read. */
export function isTruncated(payload: unknown): payload is TruncatedPayload {
  if (payload === null || typeof payload !== "object") return false;
  const { truncated, size, preview } = payload as Partial<TruncatedPayload>;
  return truncated === true && typeof size === "number" && typeof preview === "string";
}

const ACTIVE: readonly unknown[] = ["pending", "running", "waiting"];

/** Returns whether an execution with this status has not ended. An unknown status counts as ended. */
export function isActive(status: string | null | undefined): boolean {
  return ACTIVE.includes(status);
}
