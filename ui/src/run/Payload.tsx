import "./run.css";
import { Button, Code, Group, Skeleton, Text, TextInput } from "@mantine/core";
import { IconDownload, IconSearch } from "@tabler/icons-react";
import { lazy, Suspense, useDeferredValue, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import { isTruncated } from "workflow-orchestration-client";
import { formatSize } from "../app/format";
import { Copy } from "../components/Copy";

const JsonTree = lazy(() => import("./JsonTree"));
/** Above this size a preview is shown. */
const MAX_SHOWN = 256 * 1024;
const MAX_MATCHES = 100;

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

/** A JSON value: search, copy, and a download if it is large. */
export function Payload({ value, name }: { value: unknown; name: string }) {
  const { t } = useTranslation();
  const [search, setSearch] = useState("");
  const wanted = useDeferredValue(search.trim().toLowerCase());
  const text = useMemo(() => JSON.stringify(value, null, 2) ?? "null", [value]);
  const found = useMemo(() => (wanted ? matches(value, wanted) : []), [value, wanted]);
  const download = () => {
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), {
      href: url,
      download: `${name}.json`,
    });
    link.click();
    URL.revokeObjectURL(url);
  };
  if (value === undefined || value === null)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("No data")}
      </Text>
    );
  const isLarge = text.length > MAX_SHOWN;
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
          onClick={download}
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
      ) : isTruncated(value) || isLarge ? (
        <>
          <Code block className="preview">
            {isTruncated(value) ? value.preview : text.slice(0, 4_000)}…
          </Code>
          <Text size="xs" c="dimmed" mt={4}>
            {t("A preview; download the data to see everything.")}
          </Text>
        </>
      ) : typeof value === "object" ? (
        <Suspense fallback={<Skeleton height={80} />}>
          <JsonTree value={value as object} isOpen={text.length < 20_000} />
        </Suspense>
      ) : (
        <Code block>{typeof value === "string" ? value : text}</Code>
      )}
    </div>
  );
}
