import type { WorkflowClient } from "./client.js";
import { Connected, Connection, type ConnectionOptions, type Source } from "./connection.js";
import { ServiceError } from "./errors.js";
import type { ExecutionMessage, Message } from "./types.js";

export interface EventsOptions extends ConnectionOptions {
  /** At most 500 executions; the connection ends when all have ended. */
  executionIds?: readonly string[];
  /** All executions of an organization. Without both: all that the caller may access. */
  organizationId?: string;
  onMessages: (messages: ExecutionMessage[]) => void;
  /** While streams do not arrive, this is called regularly instead. */
  onPoll?: (signal: AbortSignal) => Promise<void>;
}

/** Follows many executions on one connection. */
export class Events extends Connected {
  protected readonly connection: Connection;
  #position: number | undefined;

  constructor(client: WorkflowClient, options: EventsOptions) {
    super();
    const { executionIds, organizationId } = options;
    const source: Source = {
      open: async (signal) => {
        const query = { executionIds, organizationId, lastEventId: this.#position };
        const headers = { Accept: "text/event-stream" };
        const response = await client.fetch("GET", "/api/events", { query, headers, signal });
        if (!response.ok) throw await ServiceError.of(response);
        return response;
      },
      receive: (messages: Message[]) => {
        const events = messages.filter((message) => message.type !== "node_output_delta");
        for (const { position } of events) if (position != null) this.#position = position;
        if (events.length > 0) options.onMessages(events);
        return false;
      },
      poll: async (_hold, signal) => {
        await options.onPoll?.(signal);
        return { ended: false, changed: false };
      },
    };
    this.connection = new Connection(source, { ...client.options.connection, ...options });
  }
}
