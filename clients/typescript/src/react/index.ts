export { useClient, WorkflowProvider } from "./context.js";
export {
  type ExecutionActions,
  type NodeOutput,
  type UseExecutionOptions,
  type UseExecutionResult,
  type UseNodeOutputOptions,
  useExecution,
  useExecutionActions,
  useNodeOutput,
  useWatch,
} from "./execution.js";
export {
  type LiveExecution,
  type UseExecutionsResult,
  useExecutions,
  useNodeTypes,
} from "./executions.js";
export { type UseBulkResult, type UseFailuresResult, useBulk, useFailures } from "./failures.js";
export type { LiveState } from "./live.js";
export { type LiveTask, type UseTasksResult, useTasks } from "./tasks.js";
export { type UseWorkflowOptions, type UseWorkflowResult, useWorkflow } from "./workflow.js";
