// An HTTP proxy that truncates event streams, as a proxy with a time limit does.
import { createServer, request as requestOf } from "node:http";
import type { AddressInfo } from "node:net";

export interface CuttingProxy {
  url: string;
  /** Number of streams that were cut in the middle of an event. */
  cuts: () => number;
  close: () => Promise<void>;
}

/** Starts a proxy on loopback that cuts the first `maxCuts` streams within their first event. */
export async function startCuttingProxy(target: string, maxCuts: number): Promise<CuttingProxy> {
  let cuts = 0;
  const server = createServer((incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const upstream = requestOf(target + url, { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      const isStream = answer.headers["content-type"]?.startsWith("text/event-stream");
      if (!isStream || cuts >= maxCuts) {
        answer.pipe(outgoing);
        return;
      }
      outgoing.flushHeaders();
      answer.on("data", (part: Buffer) => {
        const at = part.indexOf("data:");
        if (at < 0) {
          outgoing.write(part);
          return;
        }
        cuts += 1;
        answer.destroy();
        // Some of the JSON arrives, and the end of the event does not.
        outgoing.write(part.subarray(0, at + 20), () => outgoing.socket?.destroy());
      });
    });
    upstream.on("error", () => outgoing.socket?.destroy());
    outgoing.on("close", () => upstream.destroy());
    incoming.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts: () => cuts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
