import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
} from "@tanstack/react-router";
import { Executions } from "../pages/Executions";
import { Shell } from "./Shell";

export interface ListSearch {
  status?: string[];
  workflow?: string;
  organization?: string;
  /** A name of `PERIODS`, or the start of the shown time. */
  from?: string;
  to?: string;
  /** Bulk operations whose progress is shown. */
  bulk?: string[];
}

export type FailureSearch = Pick<ListSearch, "workflow" | "bulk">;

export const TABS = ["graph", "timeline", "logs", "result"] as const;
export interface RunSearch {
  tab?: (typeof TABS)[number];
  /** The selected node run, and the execution to which it belongs if it is a child. */
  node?: string;
  child?: string;
  /** The open children. */
  open?: string[];
  /** The closed loops. */
  closed?: string[];
  /** The shown items of loops, such as `each[3]`. */
  item?: string[];
}

export const TASK_STATES = ["open", "completed", "expired", "cancelled", "all"] as const;
export interface TaskSearch {
  assignee?: string;
  /** `open` if it is missing. */
  status?: (typeof TASK_STATES)[number];
  /** The task that is shown. */
  task?: string;
}

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== ""
    ? value
    : typeof value === "number"
      ? String(value)
      : undefined;

const texts = (value: unknown): string[] | undefined => {
  const list = [value ?? []].flat().map(String);
  return list.length > 0 ? list : undefined;
};

/** Returns a list for the address without one of its texts. */
export const without = (list: string[] | undefined, gone: string): string[] | undefined =>
  texts(list?.filter((each) => each !== gone));

const root = createRootRoute({ component: Shell });
const executions = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: (search): ListSearch => ({
    status: texts(search.status),
    workflow: text(search.workflow),
    organization: text(search.organization),
    from: text(search.from),
    to: text(search.to),
  }),
  component: Executions,
});
const execution = createRoute({
  getParentRoute: () => root,
  path: "/executions/$executionId",
  validateSearch: (search): RunSearch => ({
    tab: TABS.find((tab) => tab === search.tab),
    node: text(search.node),
    child: text(search.child),
    open: texts(search.open),
    closed: texts(search.closed),
    item: texts(search.item),
  }),
  component: lazyRouteComponent(() => import("../pages/Execution"), "ExecutionPage"),
});
const workflows = createRoute({
  getParentRoute: () => root,
  path: "/workflows",
  component: lazyRouteComponent(() => import("../pages/Workflows"), "Workflows"),
});
const workflow = createRoute({
  getParentRoute: () => root,
  path: "/workflows/$workflowId",
  component: lazyRouteComponent(() => import("../pages/Workflow"), "WorkflowPage"),
});
const create = createRoute({
  getParentRoute: () => root,
  path: "/new",
  component: lazyRouteComponent(() => import("../pages/NewRun"), "NewRun"),
});
const tasks = createRoute({
  getParentRoute: () => root,
  path: "/tasks",
  validateSearch: (search): TaskSearch => ({
    assignee: text(search.assignee),
    status: TASK_STATES.find((status) => status === search.status),
    task: text(search.task),
  }),
  component: lazyRouteComponent(() => import("../pages/Tasks"), "Tasks"),
});
const failures = createRoute({
  getParentRoute: () => root,
  path: "/failures",
  validateSearch: (search): FailureSearch => ({
    workflow: text(search.workflow),
    bulk: texts(search.bulk),
  }),
  component: lazyRouteComponent(() => import("../pages/Failures"), "Failures"),
});
const schedules = createRoute({
  getParentRoute: () => root,
  path: "/schedules",
  component: lazyRouteComponent(() => import("../pages/Schedules"), "Schedules"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    executions,
    execution,
    workflows,
    workflow,
    create,
    tasks,
    failures,
    schedules,
  ]),
  basepath: "/ui",
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
