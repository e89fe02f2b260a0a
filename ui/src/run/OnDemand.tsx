import "./payload.css";
import { Button, Code, Group, Text } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { isTruncated, ServiceError } from "workflow-orchestration-client";
import { formatSize } from "../app/format";
import { ErrorAlert } from "../components/Feedback";
import { Payload } from "./Payload";
import { download } from "./payloads";

interface Props {
  value: unknown;
  name: string;
  /** Reads the whole value. */
  read: () => Promise<unknown>;
}

/** A payload: of a large one its size and its start, until the user requests all of it. */
export function OnDemand({ value, name, read }: Props) {
  const { t } = useTranslation();
  const [whole, setWhole] = useState<{ value: unknown }>();
  const [pending, setPending] = useState<"show" | "download">();
  const [error, setError] = useState<unknown>();
  if (whole || !isTruncated(value))
    return <Payload value={whole ? whole.value : value} name={name} />;

  const request = async (purpose: "show" | "download") => {
    setPending(purpose);
    setError(undefined);
    try {
      const found = await read();
      if (isTruncated(found))
        throw new ServiceError(413, t("This is larger than a response of the service may be"));
      if (purpose === "show") setWhole({ value: found });
      else download(JSON.stringify(found, null, 2), name);
    } catch (thrown) {
      setError(thrown);
    } finally {
      setPending(undefined);
    }
  };
  return (
    <div className="payload">
      <Group gap={6} mb={6}>
        <Text size="sm" fw={500} flex={1} className="number">
          {formatSize(value.size)}
        </Text>
        <Button
          size="compact-xs"
          variant="light"
          loading={pending === "show"}
          disabled={pending !== undefined}
          onClick={() => void request("show")}
        >
          {t("Load all")}
        </Button>
        <Button
          size="compact-xs"
          variant="default"
          leftSection={<IconDownload size={12} />}
          loading={pending === "download"}
          disabled={pending !== undefined}
          onClick={() => void request("download")}
        >
          {t("Download")}
        </Button>
      </Group>
      <ErrorAlert error={error} />
      {value.preview !== "" && (
        <>
          <Code block className="preview">
            {value.preview}…
          </Code>
          <Text size="xs" c="dimmed" mt={4}>
            {t("Only the start is shown")}
          </Text>
        </>
      )}
    </div>
  );
}
