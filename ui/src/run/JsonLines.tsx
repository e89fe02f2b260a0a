import { useMemo } from "react";
import { useTranslation } from "react-i18next";
import { VList } from "virtua";

const HEIGHT = 420;
/** Longer lines are cut, because a line is laid out as a whole. */
const MAX_LINE = 1_000;

/** The lines of a long text, of which only the visible ones are part of the page. */
export function JsonLines({ text }: { text: string }) {
  const { t, i18n } = useTranslation();
  const lines = useMemo(() => text.split("\n"), [text]);
  return (
    <VList className="json-lines" style={{ height: HEIGHT }} data={lines} tabIndex={0}>
      {(line, index) => (
        <div className="json-line" key={index}>
          {line.length > MAX_LINE
            ? `${line.slice(0, MAX_LINE)}… ${t("{{number}} more characters", {
                number: (line.length - MAX_LINE).toLocaleString(i18n.language),
              })}`
            : line}
        </div>
      )}
    </VList>
  );
}
