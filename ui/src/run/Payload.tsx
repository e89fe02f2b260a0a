import "./payload.css";
import { Button, Code, Group, Skeleton, Text, TextInput } from "@mantine/core";
import { IconDownload, IconSearch } from "@tabler/icons-react";
import { lazy, Suspense, useDeferredValue, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { formatSize } from "../app/format";
import { Copy } from "../components/Copy";
import { JsonLines } from "./JsonLines";
import { download } from "./payloads";

const JsonTree = lazy(() => import("./JsonTree"));
/** The largest value whose parts can be opened and closed: each part is an element of the page. */
const MAX_TREE_LINES = 2_000;
const MAX_TREE_CHARACTERS = 256 * 1024;
/** Up to this size the first levels are open. */
const MAX_OPEN_CHARACTERS = 20_000;
const MAX_MATCHES = 100;

function countLines(text: string): number {
  let count = 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
}

/** Returns the paths of a value whose name or value contains the text. */
function matches(value: unknown, wanted: string): { path: string; text: string }[] {
  const found: { path: string; text: string }[] = [];
  const visit = (item: unknown, path: string): void => {
    if (found.length >= MAX_MATCHES) return;
    if (item !== null && typeof item === "object") {
      for (const [name, child] of Object.entries(item))
        visit(child, Array.isArray(item) ? `${path}[${name}]` : `${path}.${name}`);
      return;
    }
    const text = JSON.stringify(item) ?? "";
    if (path.toLowerCase().includes(wanted) || text.toLowerCase().includes(wanted))
      found.push({ path: path.slice(1), text });
  };
  visit(value, "");
  return found;
}

/** A JSON value: search, copy, download, and its parts, or its lines if it is large. */
export function Payload({ value, name }: { value: unknown; name: string }) {
  const { t } = useTranslation();
  const [search, setSearch] = useState("");
  const wanted = useDeferredValue(search.trim().toLowerCase());
  const text = useMemo(
    () => (typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "null")),
    [value],
  );
  const isLarge = useMemo(
    () => text.length > MAX_TREE_CHARACTERS || countLines(text) > MAX_TREE_LINES,
    [text],
  );
  const found = useMemo(() => (wanted ? matches(value, wanted) : []), [value, wanted]);
  if (value === undefined || value === null)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("No data")}
      </Text>
    );
  return (
    <div className="payload">
      <Group justify="space-between" gap={4} wrap="nowrap" mb={4}>
        <TextInput
          size="xs"
          flex={1}
          variant="filled"
          leftSection={<IconSearch size={12} />}
          placeholder={t("Search the data")}
          aria-label={t("Search the data")}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
        <Text size="xs" c="dimmed" className="number">
          {formatSize(text.length)}
        </Text>
        <Copy value={text} label={t("Copy")} />
        <Button
          variant="subtle"
          color="gray"
          size="compact-xs"
          onClick={() => download(JSON.stringify(value, null, 2), name)}
          aria-label={t("Download")}
        >
          <IconDownload size={14} />
        </Button>
      </Group>
      {wanted ? (
        found.length === 0 ? (
          <Text size="sm" c="dimmed" p="xs">
            {t("Nothing found")}
          </Text>
        ) : (
          <div className="matches">
            {found.map((match) => (
              <div key={match.path}>
                <Code>{match.path || "(root)"}</Code>{" "}
                <Text span size="xs" ff="monospace">
                  {match.text.slice(0, 200)}
                </Text>
              </div>
            ))}
          </div>
        )
      ) : isLarge ? (
        <JsonLines text={text} />
      ) : typeof value === "object" ? (
        <Suspense fallback={<Skeleton height={80} />}>
          <JsonTree value={value as object} isOpen={text.length < MAX_OPEN_CHARACTERS} />
        </Suspense>
      ) : (
        <Code block>{text}</Code>
      )}
    </div>
  );
}
