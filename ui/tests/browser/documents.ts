// Documents of the browser tests.
export const node = (id: string, type: string, config: object = {}) => ({
  id,
  type,
  label: id,
  config,
});

/** Returns a document with connections such as `begin>end`, or `each:item>work` from a port. */
export const graph = (nodes: object[], ...pairs: string[]) => ({
  nodes,
  connections: pairs.map((pair, index) => {
    const [source, toNodeId] = pair.split(">");
    const [fromNodeId, outputType] = source!.split(":");
    return { id: `c${index}`, fromNodeId, toNodeId, outputType };
  }),
});

export const FAILING = graph(
  [
    node("begin", "trigger"),
    node("broken", "addField", { addFieldName: "x", addFieldValue: "{{ missing }}" }),
    node("after", "output"),
  ],
  "begin>broken",
  "broken>after",
);

export const WAITING = graph(
  [node("begin", "trigger"), node("pause", "wait", { waitSeconds: 600 })],
  "begin>pause",
);
