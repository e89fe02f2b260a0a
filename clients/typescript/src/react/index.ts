export { useClient, WorkflowProvider } from "./context.js";
export {
  type ExecutionActions,
  type NodeOutput,
  type UseExecutionOptions,
  type UseExecutionResult,
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
export { type UseWorkflowOptions, type UseWorkflowResult, useWorkflow } from "./workflow.js";
