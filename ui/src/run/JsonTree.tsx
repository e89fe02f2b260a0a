import "react-json-view-lite/dist/index.css";
import { collapseAllNested, JsonView } from "react-json-view-lite";

const STYLE = {
  container: "json",
  basicChildStyle: "json-child",
  label: "json-label",
  clickableLabel: "json-label",
  nullValue: "json-null",
  undefinedValue: "json-null",
  stringValue: "json-string",
  booleanValue: "json-boolean",
  numberValue: "json-number",
  otherValue: "json-null",
  punctuation: "json-punctuation",
  expandIcon: "json-icon json-expand",
  collapseIcon: "json-icon json-collapse",
  collapsedContent: "json-collapsed",
  childFieldsContainer: "json-children",
  noQuotesForStringValues: false,
  quotesForFieldNames: false,
  ariaLables: { collapseJson: "collapse", expandJson: "expand" },
  stringifyStringValues: true,
};

export default function JsonTree({ value, isOpen }: { value: object; isOpen: boolean }) {
  return (
    <JsonView
      data={value}
      style={STYLE as never}
      shouldExpandNode={isOpen ? (level) => level < 3 : collapseAllNested}
      clickToExpandNode
    />
  );
}
