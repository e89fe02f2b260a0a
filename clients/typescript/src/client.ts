import { type BulkOptions, followBulk } from "./bulk.js";
import type { ConnectionOptions } from "./connection.js";
import { ServiceError } from "./errors.js";
import { Events, type EventsOptions } from "./events.js";
import { Following, type FollowOptions } from "./follow.js";
import { TokenCache, type TokenSource } from "./tokens.js";
import type * as T from "./types.js";
import { ExecutionWatch } from "./watch.js";

export interface ClientOptions {
  /** Address of the service, such as `http://localhost:8000`; by default that of the page. */
  baseUrl?: string;
  /** An API key, or a function that returns a key or a token and is called again when it expires. */
  token?: TokenSource;
  /** Headers of every request, also of streams. */
  headers?: Record<string, string>;
  fetch?: typeof globalThis.fetch;
  /** Options of all connections of this client. */
  connection?: Omit<ConnectionOptions, "onState">;
}

export interface RequestOptions {
  query?: object;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Options of a single call. */
export interface CallOptions {
  signal?: AbortSignal;
}

const segment = encodeURIComponent;

/** Typed client of the service. All methods reject with `ServiceError`. */
export class WorkflowClient {
  readonly #tokens: TokenCache;
  readonly #base: string;
  readonly #watches = new Map<string, ExecutionWatch>();

  constructor(readonly options: ClientOptions = {}) {
    this.#tokens = new TokenCache(options.token);
    this.#base = (options.baseUrl ?? "").replace(/\/+$/, "");
  }

  /** Sends a request and returns the response, with any status. After a 401 the token is renewed. */
  async fetch(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const { query, body, signal } = options;
    const send = async (token: string | null): Promise<Response> => {
      const headers: Record<string, string> = { ...this.options.headers, ...options.headers };
      if (token !== null) headers.Authorization = `Bearer ${token}`;
      if (body !== undefined) headers["Content-Type"] = "application/json";
      const request = this.options.fetch ?? globalThis.fetch;
      return request(`${this.#base}${path}${queryString(query)}`, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        signal: signal ?? null,
        cache: "no-store",
      });
    };
    try {
      const token = await this.#tokens.get();
      const response = await send(token);
      if (response.status !== 401 || !this.#tokens.canRefresh) return response;
      const renewed = await this.#tokens.get(token);
      if (renewed === null || renewed === token) return response;
      await response.body?.cancel();
      return await send(renewed);
    } catch (error) {
      throw ServiceError.from(error);
    }
  }

  /** Sends a request and returns its JSON body. Use it for routes without a method here. */
  async request<Result>(method: string, path: string, options?: RequestOptions): Promise<Result> {
    const response = await this.fetch(method, path, options);
    if (!response.ok) throw await ServiceError.of(response);
    if (response.status === 204) return undefined as Result;
    try {
      return (await response.json()) as Result;
    } catch (error) {
      throw ServiceError.from(error);
    }
  }

  /** Starts an execution. With an idempotency key, repeating the call starts it only once. */
  execute(
    request: T.ExecuteRequest,
    options: CallOptions & { idempotencyKey?: string } = {},
  ): Promise<T.ExecuteResponse> {
    return this.#startOnce("/api/workflows/execute", request, options);
  }

  #startOnce<Result>(
    path: string,
    body: unknown,
    { idempotencyKey, signal }: CallOptions & { idempotencyKey?: string },
  ): Promise<Result> {
    const headers: Record<string, string> =
      idempotencyKey === undefined ? {} : { "Idempotency-Key": idempotencyKey };
    return this.request("POST", path, { body, headers, signal });
  }

  getExecution(
    id: string,
    query?: T.QueryOf<"getExecution">,
    options?: CallOptions,
  ): Promise<T.Execution> {
    return this.request("GET", `/api/executions/${segment(id)}`, { query, ...options });
  }

  getLogs(id: string, query?: T.LogQuery, options?: CallOptions): Promise<T.LogPage> {
    return this.request("GET", `/api/executions/${segment(id)}/logs`, { query, ...options });
  }

  listExecutions(
    filter?: T.ExecutionFilter,
    options?: CallOptions,
  ): Promise<{ executions: T.ExecutionSummary[]; nextCursor: string | null }> {
    return this.request("GET", "/api/executions", { query: filter, ...options });
  }

  cancel(id: string): Promise<{ success: boolean; message: string; previousStatus: string }> {
    return this.request("POST", `/api/executions/${segment(id)}/cancel`);
  }

  /** Runs an ended execution again, and reuses the results that do not depend on the node. */
  rerun(id: string, request: T.RerunRequest = {}): Promise<T.RerunResponse> {
    return this.request("POST", `/api/executions/${segment(id)}/rerun`, { body: request });
  }

  /** Resumes a waiting node, such as an approval. */
  resume(id: string, nodeId: string, request: T.ResumeRequest = {}): Promise<{ success: boolean }> {
    const path = `/api/executions/${segment(id)}/nodes/${segment(nodeId)}/resume`;
    return this.request("POST", path, { body: request });
  }

  /** Lists the tasks of people, newest first. */
  listTasks(query?: T.TaskFilter, options?: CallOptions): Promise<T.TaskPage> {
    return this.request("GET", "/api/tasks", { query, ...options });
  }

  /** Returns a task with its form and its answers. */
  getTask(id: string, options?: CallOptions): Promise<T.Task> {
    return this.request("GET", `/api/tasks/${segment(id)}`, options);
  }

  /** Answers a task. 409: it has ended; 422: `problems` have a pointer to each invalid field. */
  completeTask(id: string, request: T.CompleteTaskRequest = {}): Promise<T.Task> {
    return this.request("POST", `/api/tasks/${segment(id)}/complete`, { body: request });
  }

  /** Creates a link to a page on which a person answers a task once, without a key. */
  createTaskLink(id: string, request: T.TaskLinkRequest = {}): Promise<T.TaskLink> {
    return this.request("POST", `/api/tasks/${segment(id)}/links`, { body: request });
  }

  /** Lists failed executions in groups with the same error, the latest failure first. */
  listFailures(
    query?: T.FailureFilter,
    options?: CallOptions,
  ): Promise<{ failures: T.FailureGroup[] }> {
    return this.request("GET", "/api/failures", { query, ...options });
  }

  /** Returns the number of executions to which an action would be applied. */
  async countBulk(request: T.BulkRequest, options?: CallOptions): Promise<number> {
    const body = { ...request, dryRun: true };
    const path = "/api/executions/bulk";
    return (await this.request<T.BulkResponse>("POST", path, { body, ...options })).matched;
  }

  /** Applies an action to many executions in the background, and returns its id for `followBulk`. */
  startBulk(
    request: T.BulkRequest,
    options: CallOptions & { idempotencyKey?: string } = {},
  ): Promise<{ bulkId: string; matched: number }> {
    return this.#startOnce("/api/executions/bulk", request, options);
  }

  /** Returns the progress of a bulk operation, with a page of its executions. */
  getBulk(
    id: string,
    query?: T.QueryOf<"getBulk">,
    options?: CallOptions,
  ): Promise<T.BulkProgress> {
    return this.request("GET", `/api/bulk/${segment(id)}`, { query, ...options });
  }

  /** Yields the progress of a bulk operation until it is completed. */
  followBulk(id: string, options?: BulkOptions): AsyncGenerator<T.BulkProgress, void> {
    return followBulk(this, id, options);
  }

  /** Lists the schedules of saved workflows. */
  listSchedules(
    query?: T.QueryOf<"listSchedules">,
    options?: CallOptions,
  ): Promise<{ schedules: T.Schedule[]; nextCursor: string | null }> {
    return this.request("GET", "/api/schedules", { query, ...options });
  }

  /** Returns a schedule with its next instants. */
  getSchedule(
    id: string,
    query?: T.QueryOf<"getSchedule">,
    options?: CallOptions,
  ): Promise<T.ScheduleDetail> {
    return this.request("GET", `/api/schedules/${segment(id)}`, { query, ...options });
  }

  pauseSchedule(id: string): Promise<T.Schedule> {
    return this.request("POST", `/api/schedules/${segment(id)}/pause`);
  }

  resumeSchedule(id: string): Promise<T.Schedule> {
    return this.request("POST", `/api/schedules/${segment(id)}/resume`);
  }

  /** Starts the executions of a past interval that the schedule has not started. */
  backfillSchedule(id: string, request: T.BackfillRequest): Promise<T.Backfill> {
    return this.request("POST", `/api/schedules/${segment(id)}/backfill`, { body: request });
  }

  /** Creates a token that reads one execution, for a page that has no key. */
  createToken(id: string): Promise<{ token: string; executionId: string; expiresAt: string }> {
    return this.request("POST", `/api/executions/${segment(id)}/token`);
  }

  /** Returns a client whose token reads this execution only; this client renews it. */
  forExecution(id: string): WorkflowClient {
    return new WorkflowClient({ ...this.options, token: () => this.createToken(id) });
  }

  nodeTypes(options?: CallOptions): Promise<T.NodeType[]> {
    return this.request("GET", "/api/node-types", options);
  }

  /** Runs one node without an execution. A node that fails resolves with `success: false`. */
  executeNode(
    request: T.NodeExecuteRequest,
    options?: CallOptions,
  ): Promise<T.NodeExecuteResponse> {
    return this.request("POST", "/api/nodes/execute", { body: request, ...options });
  }

  validate(request: T.ValidateRequest, options?: CallOptions): Promise<T.ValidateResponse> {
    return this.request("POST", "/api/workflows/validate", { body: request, ...options });
  }

  listWorkflows(
    query?: T.QueryOf<"listWorkflows">,
    options?: CallOptions,
  ): Promise<{ workflows: T.WorkflowSummary[]; nextCursor: string | null }> {
    return this.request("GET", "/api/workflows", { query, ...options });
  }

  getWorkflow(id: string, options?: CallOptions): Promise<T.Workflow> {
    return this.request("GET", `/api/workflows/${segment(id)}`, options);
  }

  createWorkflow(request: T.CreateWorkflowRequest): Promise<T.Workflow> {
    return this.request("POST", "/api/workflows", { body: request });
  }

  updateWorkflow(id: string, request: T.UpdateWorkflowRequest, etag?: string): Promise<T.Workflow> {
    const headers: Record<string, string> = etag === undefined ? {} : { "If-Match": etag };
    return this.request("PUT", `/api/workflows/${segment(id)}`, { body: request, headers });
  }

  deleteWorkflow(id: string, query?: T.QueryOf<"deleteWorkflow">): Promise<void> {
    return this.request("DELETE", `/api/workflows/${segment(id)}`, { query });
  }

  /** Lists the events that no node has received yet, without their payloads. */
  listKeptEvents(query?: T.KeptEventFilter, options?: CallOptions): Promise<T.KeptEventPage> {
    return this.request("GET", "/api/events/kept", { query, ...options });
  }

  /** Deletes a kept event, so that no node receives it. */
  deleteKeptEvent(id: string): Promise<void> {
    return this.request("DELETE", `/api/events/kept/${segment(id)}`);
  }

  /** Follows one execution until it ends; the messages arrive in order, once each. */
  follow(id: string, options?: FollowOptions): Following {
    return new Following(this, id, options);
  }

  /** Follows many executions on one connection. */
  events(options: EventsOptions): Events {
    return new Events(this, options);
  }

  /** Returns the live state of an execution. All subscribers share one connection. */
  watch(id: string): ExecutionWatch {
    let watch = this.#watches.get(id);
    if (watch === undefined) {
      watch = new ExecutionWatch(this, id, () => this.#watches.delete(id));
      this.#watches.set(id, watch);
    }
    return watch;
  }
}

function queryString(query: object | undefined): string {
  const values = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === null) continue;
    values.set(name, Array.isArray(value) ? value.join(",") : String(value));
  }
  const text = values.toString();
  return text === "" ? "" : `?${text}`;
}
