import type { WorkflowClient } from "../client.js";
import type { ConnectionState } from "../connection.js";
import { ServiceError } from "../errors.js";
import type { ExecutionMessage } from "../types.js";

/** Least pause between two reads, in milliseconds. */
const REFRESH_MS = 1_000;
/** Without events, reads are repeated after this time, because some changes have no event. */
const IDLE_REFRESH_MS = 30_000;

export interface LiveState {
  isLoading: boolean;
  connection: ConnectionState;
  error: ServiceError | undefined;
}

export const LOADING: LiveState = { isLoading: true, connection: "idle", error: undefined };

export interface LiveSource<Result> {
  organizationId: string | undefined;
  read: (signal: AbortSignal) => Promise<Result>;
  /** Whether a message may change the result. */
  isRelevant: (message: ExecutionMessage) => boolean;
  receive: (result: Result) => void;
  publish: (change: Partial<LiveState>) => void;
}

/** Reads something, and reads it again after the events that may change it. */
export class LiveReader<Result> {
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #reading: Promise<void> | undefined;
  #isStale = false;
  #isPaused = false;

  constructor(
    private readonly client: WorkflowClient,
    private readonly source: LiveSource<Result>,
  ) {}

  start(): () => void {
    this.#abort = new AbortController();
    const events = this.client.events({
      organizationId: this.source.organizationId,
      onState: (connection, error) => {
        this.#isPaused = connection === "paused";
        this.source.publish({ connection, ...(connection === "error" ? { error } : {}) });
        // Changes between the first read and the connection have no message.
        if (connection === "open") this.#require();
      },
      onMessages: (messages) => {
        if (messages.some(this.source.isRelevant)) this.#require();
      },
      onPoll: () => this.refresh(),
    });
    void this.refresh();
    return () => {
      this.#abort.abort();
      this.#stopTimers();
      this.#reading = undefined;
      events.close();
    };
  }

  /** Reads now; the result is that of a request which starts after this call. */
  readonly refresh = async (): Promise<void> => {
    await this.#reading;
    await (this.#reading ?? this.#read());
  };

  /** Reads soon: at once after a pause without reads. */
  #require(): void {
    if (this.#timer === undefined && !this.#reading) void this.#read();
    else this.#isStale = true;
  }

  #read(): Promise<void> {
    const { signal } = this.#abort;
    this.#stopTimers();
    this.#isStale = false;
    const reading = this.source
      .read(signal)
      .then(
        (result) => {
          if (signal.aborted) return;
          this.source.receive(result);
          this.source.publish({ isLoading: false, error: undefined });
        },
        (error) => {
          if (!signal.aborted)
            this.source.publish({ isLoading: false, error: ServiceError.from(error) });
        },
      )
      .finally(() => {
        if (signal.aborted) return;
        this.#reading = undefined;
        this.#timer = setTimeout(() => this.#settle(), REFRESH_MS);
      });
    this.#reading = reading;
    return reading;
  }

  #settle(): void {
    this.#timer = undefined;
    if (this.#isStale) void this.#read();
    else this.#idle = setTimeout(() => this.#refreshIdle(), IDLE_REFRESH_MS);
  }

  #refreshIdle(): void {
    if (this.#isPaused) this.#settle();
    else void this.#read();
  }

  #stopTimers(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#idle);
    this.#timer = undefined;
  }
}
