import { ServiceError } from "./errors.js";
import { readEvents } from "./sse.js";
import type { Message } from "./types.js";

/**
 * - `idle`: nothing is followed
 * - `connecting`: no connection yet, or again
 * - `open`: events arrive as they happen
 * - `polling`: the stream does not pass a proxy, so that requests ask for changes
 * - `paused`: the tab is hidden
 * - `closed`: everything has arrived, or the caller closed the connection
 * - `error`: the service rejected the request; it is not repeated
 */
export type ConnectionState =
  | "idle"
  | "connecting"
  | "open"
  | "polling"
  | "paused"
  | "closed"
  | "error";

/** Times in milliseconds. The defaults suit a page; tests use shorter ones. */
export interface Timing {
  /** Without a byte for this long after the connection, a proxy keeps the stream back. */
  firstByteMs: number;
  /** Without a byte for this long, the connection is lost. The service sends one every 15 s. */
  silenceMs: number;
  /** Pause between two requests if the service or a proxy does not hold them. */
  pollMs: number;
  /** After this time, polling tries the stream again. */
  streamRetryMs: number;
  /** First pause after a failure; it doubles up to `maxBackoffMs`. */
  backoffMs: number;
  maxBackoffMs: number;
  /** A tab that is hidden for this long pauses. */
  hiddenMs: number;
}

const TIMING: Timing = {
  firstByteMs: 8_000,
  silenceMs: 45_000,
  pollMs: 2_000,
  streamRetryMs: 60_000,
  backoffMs: 500,
  maxBackoffMs: 15_000,
  hiddenMs: 5_000,
};
/** Number of streams in a row that end without a message before polling starts. */
const STREAM_TRIES = 3;
/** A long poll that returns earlier without a change was not held. */
const HELD_MS = 1_000;

/** What a connection follows. */
export interface Source {
  /** Opens the stream after the last received message. 204: everything has arrived. */
  open(signal: AbortSignal): Promise<Response>;
  /** Takes new messages and returns whether the end has arrived. */
  receive(messages: Message[]): boolean;
  /** Requests the changes. `hold`: the service may wait for one. */
  poll(hold: boolean, signal: AbortSignal): Promise<{ ended: boolean; changed: boolean }>;
}

export interface ConnectionOptions {
  onState?: (state: ConnectionState, error?: ServiceError) => void;
  timing?: Partial<Timing>;
  /** Whether a hidden tab closes its connection until it is visible again; true by default. */
  pauseWhenHidden?: boolean;
}

/** An object with a connection, whose state it shows. */
export abstract class Connected {
  protected abstract readonly connection: Connection;

  get state(): ConnectionState {
    return this.connection.state;
  }

  get error(): ServiceError | undefined {
    return this.connection.error;
  }

  /** Resolves when everything has arrived, after `close()`, or with an error. It never rejects. */
  get ended(): Promise<void> {
    return this.connection.ended;
  }

  close(): void {
    this.connection.close();
  }
}

const page = (): Document | undefined => (typeof document === "undefined" ? undefined : document);

/** Follows a source: by a stream, by long polling if streams do not arrive, otherwise by polling. */
export class Connection {
  state: ConnectionState = "idle";
  error: ServiceError | undefined;
  /** Resolves when the connection is closed or has failed. It never rejects. */
  readonly ended: Promise<void>;
  readonly #timing: Timing;
  #isClosed = false;
  #isHidden = false;
  #hiding: ReturnType<typeof setTimeout> | undefined;
  #abort = new AbortController();
  #wake: () => void = () => undefined;
  #failures = 0;
  #isStreamable = true;
  #nextStream = 0;
  #hold = true;

  constructor(
    private readonly source: Source,
    private readonly options: ConnectionOptions = {},
  ) {
    this.#timing = { ...TIMING, ...options.timing };
    this.#watchPage(true);
    this.ended = this.#run().finally(() => this.#watchPage(false));
  }

  /** Ends the connection. */
  close(): void {
    this.#isClosed = true;
    this.#interrupt();
    this.#set("closed");
  }

  #set(state: ConnectionState, error?: ServiceError): void {
    if (this.state === "error" || this.state === "closed" || this.state === state) return;
    this.state = state;
    this.error = error;
    this.options.onState?.(state, error);
  }

  #interrupt(): void {
    this.#abort.abort();
    this.#wake();
  }

  #watchPage(isOn: boolean): void {
    const method = isOn ? "addEventListener" : "removeEventListener";
    if (this.options.pauseWhenHidden !== false) {
      page()?.[method]("visibilitychange", this.#onVisibility);
      if (isOn) this.#onVisibility();
    }
    if (!isOn) clearTimeout(this.#hiding);
    globalThis[method]?.("online", this.#onOnline);
  }

  readonly #onVisibility = (): void => {
    clearTimeout(this.#hiding);
    if (page()?.visibilityState === "hidden") {
      this.#hiding = setTimeout(() => {
        this.#isHidden = true;
        this.#interrupt();
      }, this.#timing.hiddenMs);
    } else if (this.#isHidden) {
      this.#isHidden = false;
      this.#interrupt();
    }
  };

  readonly #onOnline = (): void => {
    if (this.#failures > 0) this.#interrupt();
  };

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      this.#abort = new AbortController();
      if (this.#isHidden) {
        this.#set("paused");
        await this.#sleep(Number.POSITIVE_INFINITY);
        continue;
      }
      try {
        if (await this.#step()) return this.#set("closed");
      } catch (thrown) {
        if (this.#isClosed || this.#isHidden) continue;
        const error = ServiceError.from(thrown);
        if (!error.isTemporary) return this.#set("error", error);
        this.#failures += 1;
        this.#set("connecting", error);
        await this.#sleep(this.#pause(error));
      }
    }
  }

  /** Follows until the end (true), or until the stream or the poll is over. */
  async #step(): Promise<boolean> {
    if (this.#isStreamable || Date.now() >= this.#nextStream) {
      if (this.#isStreamable) this.#set("connecting");
      const result = await this.#stream();
      if (result !== "lost") return result === "ended";
      this.#isStreamable = false;
      this.#nextStream = Date.now() + this.#timing.streamRetryMs;
    }
    const start = Date.now();
    try {
      const { ended, changed } = await this.source.poll(this.#hold, this.#abort.signal);
      this.#failures = 0;
      this.#set("polling");
      if (ended) return true;
      const isHeld = this.#hold && (changed || Date.now() - start >= HELD_MS);
      if (!isHeld) await this.#sleep(this.#timing.pollMs);
    } catch (error) {
      // A proxy may end requests that the service holds.
      const isCut = this.#hold && Date.now() - start >= HELD_MS;
      if (!isCut || !ServiceError.from(error).isTemporary || this.#abort.signal.aborted)
        throw error;
      this.#hold = false;
    }
    return false;
  }

  /** `lost`: streams do not get through, so that polling has to follow. */
  async #stream(): Promise<"ended" | "again" | "lost"> {
    const abort = this.#abort;
    let isKeptBack = false;
    let timer = setTimeout(() => {
      isKeptBack = true;
      abort.abort();
    }, this.#timing.firstByteMs);
    let hasMessage = false;
    try {
      const response = await this.source.open(abort.signal);
      if (response.status === 204) return "ended";
      if (
        !response.body ||
        !response.headers.get("Content-Type")?.startsWith("text/event-stream")
      ) {
        await response.body?.cancel();
        return "lost";
      }
      for await (const events of readEvents(response.body)) {
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), this.#timing.silenceMs);
        this.#isStreamable = true;
        this.#set("open");
        if (events.length === 0) continue;
        hasMessage = true;
        this.#failures = 0;
        if (this.source.receive(events.map((event) => JSON.parse(event.data) as Message)))
          return "ended";
      }
    } catch (error) {
      if (isKeptBack) return "lost";
      if (this.#isClosed || this.#isHidden || !ServiceError.from(error).isTemporary) throw error;
      if (!hasMessage && this.#failures + 1 >= STREAM_TRIES) return "lost";
      if (!hasMessage) throw error;
    } finally {
      clearTimeout(timer);
      abort.abort();
      this.#abort = new AbortController();
    }
    if (!hasMessage && ++this.#failures >= STREAM_TRIES) return "lost";
    await this.#sleep(this.#pause());
    return "again";
  }

  #pause(error?: ServiceError): number {
    if (error?.retryAfter !== undefined) return error.retryAfter * 1000;
    const { backoffMs, maxBackoffMs } = this.#timing;
    const pause = Math.min(maxBackoffMs, backoffMs * 2 ** Math.max(0, this.#failures - 1));
    return pause * (0.5 + Math.random() / 2);
  }

  /** Waits until the time has passed, or until the page or the caller interrupts. */
  #sleep(ms: number): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(resolve, ms) : undefined;
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
