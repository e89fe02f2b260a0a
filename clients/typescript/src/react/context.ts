import { createContext, createElement, type ReactNode, useContext } from "react";
import { WorkflowClient } from "../client.js";

const Context = createContext<WorkflowClient | undefined>(undefined);
let shared: WorkflowClient | undefined;

/** Gives the hooks below it a client. Without it they call the origin of the page without a key. */
export function WorkflowProvider(props: {
  client: WorkflowClient;
  children?: ReactNode;
}): ReactNode {
  return createElement(Context.Provider, { value: props.client }, props.children);
}

/** Returns the client of the nearest provider. */
export function useClient(): WorkflowClient {
  const client = useContext(Context);
  if (client) return client;
  shared ??= new WorkflowClient();
  return shared;
}
