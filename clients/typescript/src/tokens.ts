/** A credential, and the time at which it expires. */
export interface Token {
  token: string;
  /** ISO 8601 time or milliseconds since 1970. */
  expiresAt?: string | number;
}

/** A key, or a function that returns one. It is called again after a 401 and before the expiry. */
export type TokenSource = string | (() => string | Token | null | Promise<string | Token | null>);

const EARLY_MS = 30_000;

/** Keeps the current token of a source, and asks for a new one at most once at a time. */
export class TokenCache {
  #token: string | null = null;
  #expires = Number.POSITIVE_INFINITY;
  #request: Promise<string | null> | undefined;
  #isKnown = false;

  constructor(private readonly source: TokenSource | undefined) {}

  /** Whether a new token can be requested after a 401. */
  get canRefresh(): boolean {
    return typeof this.source === "function";
  }

  /** Returns the token. `rejected` is one that the service did not accept. */
  async get(rejected?: string | null): Promise<string | null> {
    const { source } = this;
    if (typeof source !== "function") return source ?? null;
    const isStale =
      Date.now() >= this.#expires || (rejected !== undefined && rejected === this.#token);
    if (this.#isKnown && !isStale) return this.#token;
    this.#request ??= (async () => source())()
      .then((result) => {
        const token = typeof result === "string" ? { token: result } : result;
        const expires = token?.expiresAt;
        this.#expires =
          expires === undefined ? Number.POSITIVE_INFINITY : new Date(expires).getTime() - EARLY_MS;
        this.#isKnown = true;
        this.#token = token?.token ?? null;
        return this.#token;
      })
      .finally(() => {
        this.#request = undefined;
      });
    return this.#request;
  }
}
