/** One message of an event stream. */
export interface ServerEvent {
  id: string | undefined;
  data: string;
}

/**
 * Reads Server-Sent Events and yields those of each network chunk together, also none for a comment.
 * Follows the HTML Standard, section 9.2.6, except that a message keeps only its own id.
 */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent[]> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let id: string | undefined;
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events: ServerEvent[] = [];
      rest += decoder.decode(value, { stream: true });
      // A carriage return at the end may be the first half of a line end.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() as string;
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) events.push({ id, data: data.join("\n") });
          id = undefined;
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") data.push(content);
        else if (field === "id" && !content.includes("\0")) id = content;
      }
      yield events;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
