import "../run/run.css";
import {
  Button,
  Card,
  FileButton,
  Group,
  Skeleton,
  Stack,
  Text,
  Textarea,
  TextInput,
  Title,
} from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { IconUpload } from "@tabler/icons-react";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { useTranslation } from "react-i18next";
import type { WorkflowDocument } from "workflow-orchestration-client/flow";
import { validationQuery } from "workflow-orchestration-client/query";
import { client } from "../app/client";
import { ErrorAlert } from "../components/Feedback";
import { Problems } from "../components/Problems";
import { parseObject } from "../run/inputs";
import { RunForm } from "../run/RunForm";

const Graph = lazy(() => import("../run/Graph"));

/** Pastes or drops a document, shows its problems on its nodes, and runs it unsaved. */
export function NewRun() {
  const { t } = useTranslation();
  const [text, setText] = useState("");
  const [name, setName] = useState("");
  const [isOver, setOver] = useState(false);
  const [settled] = useDebouncedValue(text, 300);
  const parsed = useMemo(() => parseObject(settled), [settled]);
  const document =
    parsed.value && "nodes" in parsed.value ? (parsed.value as WorkflowDocument) : undefined;
  const check = useQuery({
    ...validationQuery(client, { graph: (document ?? {}) as never }),
    enabled: document !== undefined,
    placeholderData: keepPreviousData,
  });
  const read = async (file: File | null | undefined) => {
    if (!file) return;
    setText(await file.text());
    setName(file.name.replace(/\.json$/i, ""));
  };
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      const pasted = event.clipboardData?.getData("text/plain");
      if (!pasted || (event.target as Element).closest("input, textarea")) return;
      event.preventDefault();
      setText(pasted);
    };
    window.addEventListener("paste", paste);
    return () => window.removeEventListener("paste", paste);
  }, []);
  const problem =
    settled.trim() === ""
      ? undefined
      : (parsed.error ?? (document ? undefined : "The document has no nodes"));
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: a file can be opened with a button, too
    <div
      className="page drop-area"
      data-over={isOver || undefined}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget as Element | null)) setOver(false);
      }}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const [file] = event.dataTransfer.files;
        if (file) void read(file);
        else setText(event.dataTransfer.getData("text/plain"));
      }}
    >
      <Title order={1} mb="sm">
        {t("New run")}
      </Title>
      <div className="columns">
        <Stack gap="md" miw={0}>
          <Card withBorder padding={0} className="graph-card">
            {document ? (
              <Suspense fallback={<Skeleton height={320} />}>
                <Graph document={document} problems={check.data?.errors} />
              </Suspense>
            ) : (
              <Text c="dimmed" size="sm" p="xl" ta="center">
                {t("The graph of the document appears here")}
              </Text>
            )}
          </Card>
          <Problems problems={document ? check.data?.errors : undefined} />
          <ErrorAlert error={check.error} retry={() => void check.refetch()} />
        </Stack>
        <Stack gap="md">
          <Card withBorder>
            <Stack gap="sm">
              <Group justify="space-between">
                <Title order={2}>{t("Document")}</Title>
                <FileButton accept="application/json,.json" onChange={(file) => void read(file)}>
                  {(props) => (
                    <Button variant="default" leftSection={<IconUpload size={14} />} {...props}>
                      {t("Open a file")}
                    </Button>
                  )}
                </FileButton>
              </Group>
              <Textarea
                aria-label={t("Document")}
                classNames={{ input: "code-input" }}
                rows={14}
                spellCheck={false}
                error={problem ? t(problem) : undefined}
                placeholder={t(
                  "Paste a workflow document as JSON, or drop a file here: React Flow's toObject(), or nodes and connections",
                )}
                value={text}
                onChange={(event) => setText(event.currentTarget.value)}
              />
              <TextInput
                size="xs"
                label={t("Name (optional)")}
                value={name}
                onChange={(event) => setName(event.currentTarget.value)}
              />
            </Stack>
          </Card>
          {document && (
            <Card withBorder>
              <Title order={2} mb="xs">
                {t("Run unsaved")}
              </Title>
              <RunForm
                document={document}
                target={{ graph: document, workflowName: name.trim() || undefined }}
                isDisabled={check.data?.valid !== true}
              />
            </Card>
          )}
        </Stack>
      </div>
    </div>
  );
}
