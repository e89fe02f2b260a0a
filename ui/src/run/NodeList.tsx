import type { Node } from "@xyflow/react";
import { useContext } from "react";
import { useTranslation } from "react-i18next";
import { Actions, type CardData } from "./cards";

const MAX_NODES = 500;

/** The nodes of the graph as a list, for screen readers and the keyboard. It is visible in focus. */
export function NodeList({
  nodes,
  isSelectable,
}: {
  nodes: readonly Node<CardData>[];
  isSelectable: boolean;
}) {
  const { t } = useTranslation();
  const { select, toggle } = useContext(Actions);
  return (
    <div className="node-list">
      <h2>{t("Nodes")}</h2>
      <ul>
        {nodes.slice(0, MAX_NODES).map(({ id, data, ariaLabel }) => (
          <li key={id} style={{ marginLeft: data.placed.depth * 16 }}>
            <button
              type="button"
              tabIndex={isSelectable ? 0 : -1}
              onClick={() => select(data.placed)}
            >
              {ariaLabel}
              {data.reason ? ` (${data.reason})` : ""}
            </button>
            {isSelectable && (data.placed.body || data.childId) && (
              <button
                type="button"
                aria-expanded={data.placed.kind !== "card"}
                aria-label={t("Nodes of “{{node}}”", { node: data.label })}
                onClick={() => toggle(data.placed, data.childId)}
              >
                {data.placed.kind === "card" ? "▸" : "▾"}
              </button>
            )}
          </li>
        ))}
      </ul>
    </div>
  );
}
