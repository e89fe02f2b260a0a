// A page for React, without the fetch and the abort signals of a simulated browser: Node's own work
// over real connections.
import { Window } from "happy-dom";

const window = new Window({ url: "http://127.0.0.1/" });
const names = [
  "document",
  "navigator",
  "localStorage",
  "HTMLElement",
  "HTMLIFrameElement",
  "Node",
  "Element",
] as const;
for (const name of names) {
  Object.defineProperty(globalThis, name, {
    value: window[name],
    configurable: true,
    writable: true,
  });
}
Object.defineProperty(globalThis, "window", { value: window, configurable: true });
Object.assign(globalThis, {
  IS_REACT_ACT_ENVIRONMENT: true,
  getComputedStyle: window.getComputedStyle.bind(window),
  MutationObserver: window.MutationObserver,
});
