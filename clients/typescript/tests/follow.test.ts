import { expect, onTestFinished, test, vi } from "vitest";
import { type ConnectionState, type Message, type Timing, WorkflowClient } from "../src/index.js";
import {
  type Call,
  end,
  json,
  log,
  message,
  openStream,
  page,
  problem,
  send,
  startService,
  state,
} from "./support/service.js";

const FAST: Partial<Timing> = { backoffMs: 5, maxBackoffMs: 20, pollMs: 5, hiddenMs: 1 };

function follow(url: string, options: object = {}, timing: Partial<Timing> = {}) {
  const client = new WorkflowClient({
    baseUrl: url,
    token: "key",
    connection: { timing: { ...FAST, ...timing } },
  });
  const messages: Message[] = [];
  const states: ConnectionState[] = [];
  const following = client.follow("e", {
    onMessages: (some) => messages.push(...some),
    onState: (next) => states.push(next),
    ...options,
  });
  onTestFinished(() => following.close());
  const seqs = () => messages.map((item) => ("seq" in item ? item.seq : null));
  return { following, messages, states, seqs };
}

test("delivers the snapshot and the events until the end, with the headers of the client", async () => {
  const service = await startService((_call, response) => {
    openStream(response);
    send(response, message(1, { snapshot: true }), message(2), end(3));
    response.end();
  });
  const { following, states, seqs } = follow(service.url);
  await following.ended;
  expect(seqs()).toEqual([1, 2, 3]);
  expect(states).toEqual(["connecting", "open", "closed"]);
  expect(service.calls).toHaveLength(1);
  expect(service.calls[0]?.headers.authorization).toBe("Bearer key");
});

test("can be iterated, and closes the connection when the loop is left", async () => {
  const service = await startService((_call, response) => {
    openStream(response);
    send(response, message(1), message(2), message(3));
  });
  const following = new WorkflowClient({ baseUrl: service.url }).follow("e");
  const seqs: unknown[] = [];
  for await (const item of following) {
    seqs.push((item as { seq: number }).seq);
    if (seqs.length === 2) break;
  }
  expect(seqs).toEqual([1, 2]);
  expect(following.state).toBe("closed");
});

test("an iteration throws the error of the service", async () => {
  const service = await startService((_call, response) =>
    problem(response, 404, "no such execution"),
  );
  const iterate = async () => {
    for await (const _ of new WorkflowClient({ baseUrl: service.url }).follow("e"));
  };
  await expect(iterate()).rejects.toMatchObject({ status: 404, detail: "no such execution" });
});

test("continues after a cut connection from the last number, without a gap or a repetition", async () => {
  const cut = [3, 5, 6];
  const service = await startService((call, response) => {
    openStream(response);
    const from = Number(call.query.get("afterSeq") ?? 0);
    const to = cut.shift();
    // Events may arrive again if the proxy repeats the last one.
    for (let seq = Math.max(1, from); seq <= (to ?? 8); seq++) send(response, message(seq));
    if (to === undefined) send(response, end(9));
    response.write("", () => (to === undefined ? response.end() : response.destroy()));
  });
  const { following, seqs } = follow(service.url);
  await following.ended;
  expect(seqs()).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(service.calls.map(({ query }) => query.get("afterSeq"))).toEqual([null, "3", "5", "6"]);
});

test("delivers output of running nodes, which has no number", async () => {
  const delta = {
    type: "node_output_delta",
    executionId: "e",
    nodeId: "m",
    attempt: 1,
    delta: "Hel",
  };
  const service = await startService((_call, response) => {
    openStream(response);
    send(response, message(1), delta, { ...delta, delta: "lo" }, end(2));
    response.end();
  });
  const { following, messages } = follow(service.url);
  await following.ended;
  expect(messages.map((item) => ("delta" in item ? item.delta : item.seq))).toEqual([
    1,
    "Hel",
    "lo",
    2,
  ]);
});

test("204 closes the connection: everything has arrived", async () => {
  const service = await startService((_call, response) => void response.writeHead(204).end());
  const { following, states } = follow(service.url, { afterSeq: 9 });
  await following.ended;
  expect(states.at(-1)).toBe("closed");
  expect(service.calls[0]?.query.get("afterSeq")).toBe("9");
});

test("a rejected request ends in an error and is not repeated", async () => {
  const service = await startService((_call, response) => problem(response, 403, "not yours"));
  const { following, states } = follow(service.url);
  await following.ended;
  expect(states).toEqual(["connecting", "error"]);
  expect(following.error).toMatchObject({ status: 403, detail: "not yours" });
  expect(service.calls).toHaveLength(1);
});

test("waits as long as the service asks for before it connects again", async () => {
  let calls = 0;
  const service = await startService((_call, response) => {
    calls += 1;
    if (calls === 1) return problem(response, 503, "starting", { "Retry-After": "1" });
    openStream(response);
    send(response, end(1));
  });
  const start = performance.now();
  await follow(service.url).following.ended;
  expect(performance.now() - start).toBeGreaterThanOrEqual(990);
});

/** Answers polls with the states of a script; `stream` decides about streams. */
function pollable(
  script: Array<[number, string]>,
  stream: (call: Call, response: Parameters<Parameters<typeof startService>[0]>[1]) => void,
) {
  return startService((call, response) => {
    if (call.path.endsWith("/stream")) return stream(call, response);
    if (call.path.endsWith("/logs")) {
      const after = Number(call.query.get("afterSeq"));
      return json(response, page(after + 1, [log(`n${after}`, { seq: after + 1 })]));
    }
    const [seq, status] = (script.length > 1 ? script.shift() : script[0]) as [number, string];
    json(response, state(seq, status, status === "completed" ? { finalOutput: 7 } : {}));
  });
}

test("polls if a proxy keeps the stream back, and holds the requests at the service", async () => {
  const service = await pollable(
    [
      [1, "running"],
      [2, "running"],
      [3, "completed"],
    ],
    () => undefined,
  );
  const { following, messages, states } = follow(service.url, {}, { firstByteMs: 30 });
  await following.ended;
  expect(states).toEqual(["connecting", "polling", "closed"]);
  expect(messages.map((item) => item.type)).toEqual([
    "execution_progress",
    "execution_progress",
    "execution_complete",
  ]);
  expect(messages.at(-1)).toMatchObject({ seq: 3, finalOutput: 7, status: "completed" });
  const polls = service.callsOf("/executions/e");
  expect(polls.map(({ query }) => query.get("waitSeq"))).toEqual([null, "1", "2"]);
  expect(service.callsOf("/logs").map(({ query }) => query.get("payloads"))).toEqual([
    "false",
    "false",
    "false",
  ]);
});

test("polls if a proxy answers streams with a page of its own", async () => {
  const service = await pollable(
    [
      [1, "running"],
      [2, "completed"],
    ],
    (_call, response) => {
      response.writeHead(200, { "Content-Type": "text/html" });
      response.end("<html>");
    },
  );
  const { following, states } = follow(service.url);
  await following.ended;
  expect(states).toEqual(["connecting", "polling", "closed"]);
});

test("polls if streams are cut before the first message", async () => {
  const service = await pollable(
    [
      [1, "running"],
      [2, "completed"],
    ],
    (_call, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write("retry: 2000\n\n", () => response.destroy());
    },
  );
  const { following, states } = follow(service.url);
  await following.ended;
  expect(service.callsOf("/stream")).toHaveLength(3);
  expect(states.slice(-2)).toEqual(["polling", "closed"]);
});

test("returns from polling to the stream when it works again", async () => {
  let isBlocked = true;
  const service = await pollable([[1, "running"]], (call, response) => {
    if (isBlocked) return void response.writeHead(200, { "Content-Type": "text/html" }).end();
    openStream(response);
    send(response, end(Number(call.query.get("afterSeq")) + 1));
  });
  const { following, states } = follow(service.url, {}, { streamRetryMs: 30 });
  await vi.waitFor(() => expect(states).toContain("polling"));
  isBlocked = false;
  await following.ended;
  expect(states).toEqual(["connecting", "polling", "open", "closed"]);
});

test("stops holding requests that a proxy ends early", async () => {
  let polls = 0;
  const service = await startService((call, response) => {
    if (call.path.endsWith("/stream")) return void response.writeHead(200).end();
    if (call.path.endsWith("/logs")) return json(response, page(1));
    polls += 1;
    if (call.query.has("waitSeq"))
      return void setTimeout(() => problem(response, 504, "gateway timeout"), 1_050);
    json(response, polls < 4 ? state(1) : state(2, "completed"));
  });
  const { following, states } = follow(service.url);
  await following.ended;
  expect(states.at(-1)).toBe("closed");
  expect(service.callsOf("/executions/e").filter(({ query }) => query.has("waitSeq"))).toHaveLength(
    1,
  );
});

test("reads the first state in small requests and streams what follows", async () => {
  const service = await pollable([[4, "running"]], (_call, response) => {
    openStream(response);
    send(response, end(5));
  });
  const { following, messages, states } = follow(service.url, { snapshot: "requests" });
  await following.ended;
  expect(messages[0]).toMatchObject({ snapshot: true, seq: 4, logs: [{ nodeId: "n0" }] });
  expect(service.callsOf("/stream")[0]?.query.get("afterSeq")).toBe("4");
  expect(states).toEqual(["connecting", "open", "closed"]);
});

test("opens no stream for an execution that has ended", async () => {
  const service = await pollable([[4, "failed"]], () => undefined);
  const { following, messages } = follow(service.url, { snapshot: "requests" });
  await following.ended;
  expect(messages).toMatchObject([{ type: "execution_error", status: "failed" }]);
  expect(service.callsOf("/stream")).toHaveLength(0);
});

test("pauses in a hidden tab and continues from the last number", async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("document", page);
  onTestFinished(() => void vi.unstubAllGlobals());
  const show = (visibilityState: string) => {
    page.visibilityState = visibilityState;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  const closed: string[] = [];
  const service = await startService((call, response) => {
    openStream(response);
    response.on("close", () => closed.push("closed"));
    send(response, call.query.get("afterSeq") === "1" ? end(2) : message(1));
  });
  const { following, seqs, states } = follow(service.url);
  await vi.waitFor(() => expect(seqs()).toEqual([1]));
  show("hidden");
  await vi.waitFor(() => expect(closed).toHaveLength(1));
  expect(following.state).toBe("paused");
  expect(service.calls).toHaveLength(1);
  show("visible");
  await following.ended;
  expect(seqs()).toEqual([1, 2]);
  expect(states).toEqual(["connecting", "open", "paused", "connecting", "open", "closed"]);
});

test("connects again if the connection is silent for too long", async () => {
  let calls = 0;
  const service = await startService((_call, response) => {
    calls += 1;
    openStream(response);
    send(response, calls === 1 ? message(1) : end(2));
  });
  const { following, seqs } = follow(service.url, {}, { silenceMs: 50 });
  await following.ended;
  expect(seqs()).toEqual([1, 2]);
});

test("close and an abort signal end the request", async () => {
  let closed = 0;
  const service = await startService((_call, response) => {
    response.on("close", () => (closed += 1));
    openStream(response);
    send(response, message(1));
  });
  const abort = new AbortController();
  const first = follow(service.url);
  const second = follow(service.url, { signal: abort.signal });
  await vi.waitFor(() => expect([...first.seqs(), ...second.seqs()]).toEqual([1, 1]));
  first.following.close();
  abort.abort();
  await Promise.all([first.following.ended, second.following.ended]);
  await vi.waitFor(() => expect(closed).toBe(2));
  expect(second.states.at(-1)).toBe("closed");
});

test("a lost network keeps trying and continues", async () => {
  let isDown = true;
  const service = await startService((call, response) => {
    if (isDown) return void response.destroy();
    if (!call.path.endsWith("/stream"))
      return json(response, call.path.endsWith("/logs") ? page(2) : state(2, "completed"));
    openStream(response);
    send(response, end(2));
  });
  const { following, states } = follow(service.url);
  await vi.waitFor(() => expect(service.calls.length).toBeGreaterThan(6));
  expect(["connecting", "polling"]).toContain(following.state);
  isDown = false;
  await following.ended;
  expect(states.at(-1)).toBe("closed");
});
