export type { BulkOptions } from "./bulk.js";
export {
  type CallOptions,
  type ClientOptions,
  type RequestOptions,
  WorkflowClient,
} from "./client.js";
export type { ConnectionOptions, ConnectionState, Timing } from "./connection.js";
export { ServiceError } from "./errors.js";
export type { Events, EventsOptions } from "./events.js";
export type { Following, FollowOptions } from "./follow.js";
export type { components, operations, paths } from "./schema.js";
export type { Token, TokenSource } from "./tokens.js";
export * from "./types.js";
export { type ExecutionView, reduce } from "./view.js";
export { type ExecutionWatch, IDLE, type WatchSnapshot } from "./watch.js";
