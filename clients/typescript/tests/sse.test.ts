import { expect, test } from "vitest";
import { readEvents, type ServerEvent } from "../src/sse.js";

async function read(...chunks: Uint8Array[]): Promise<ServerEvent[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  const events: ServerEvent[] = [];
  for await (const some of readEvents(body)) events.push(...some);
  return events;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const STREAM =
  'retry: 2000\r\n\r\nid: 1\r\nevent: x\r\ndata: {"a": "ñ 東 🎉"}\r\n\r\n: ping\r\n\r\ndata:1\r\ndata: 2\r\n\r\n';
const EXPECTED = [
  { id: "1", data: '{"a": "ñ 東 🎉"}' },
  { id: undefined, data: "1\n2" },
];

test.each(["\r\n", "\n", "\r"])("reads lines that end with %j", async (end) => {
  // The last carriage return may be the first half of a line end, so that a comment follows it.
  expect(await read(bytes(`${STREAM.replaceAll("\r\n", end)}:`))).toEqual(EXPECTED);
});

test("reads a stream that is cut anywhere, also inside a character or a line end", async () => {
  const whole = bytes(STREAM);
  for (let cut = 0; cut <= whole.length; cut++) {
    expect(await read(whole.slice(0, cut), whole.slice(cut))).toEqual(EXPECTED);
  }
  expect(await read(...Array.from(whole, (byte) => new Uint8Array([byte])))).toEqual(EXPECTED);
});

test("drops an event that the connection cut", async () => {
  expect(await read(bytes("data: 1\n\ndata: 2\n"))).toEqual([{ id: undefined, data: "1" }]);
});
