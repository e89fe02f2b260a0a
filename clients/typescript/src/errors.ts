import type { DocumentProblem } from "./types.js";

/** The service rejected a request (RFC 9457), or no usable response arrived (`status` is 0). */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  /** Why a document or its inputs were rejected. `nodeId` names the node. */
  readonly problems: readonly DocumentProblem[];

  constructor(
    readonly status: number,
    detail: string,
    readonly body?: unknown,
    /** Seconds after which the request may be repeated, from `Retry-After`. */
    readonly retryAfter?: number,
    options?: ErrorOptions,
  ) {
    super(detail, options);
    const errors = (body as { errors?: unknown } | null | undefined)?.errors;
    this.problems = Array.isArray(errors) ? errors : [];
  }

  get detail(): string {
    return this.message;
  }

  /** Whether the same request can succeed later without a change. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status >= 500 || [408, 425, 429].includes(this.status);
  }

  /** Returns any thrown value as a `ServiceError`. */
  static from(error: unknown): ServiceError {
    if (error instanceof ServiceError) return error;
    const detail = error instanceof Error ? error.message : String(error);
    return new ServiceError(0, detail, undefined, undefined, { cause: error });
  }

  /** Returns the error of a response whose status is not a success. */
  static async of(response: Response): Promise<ServiceError> {
    const text = await response.text().catch(() => "");
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      body = undefined;
    }
    const detail = (body as { detail?: unknown } | null | undefined)?.detail;
    const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
    return new ServiceError(
      response.status,
      typeof detail === "string" ? detail : `The service responded with ${response.status}`,
      body,
      Number.isFinite(seconds) ? seconds : undefined,
    );
  }
}
