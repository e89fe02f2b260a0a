import "./payload.css";
import { Button, Code, Group, Skeleton, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { isTruncated } from "workflow-orchestration-client";
import { formatSize } from "../app/format";
import { shortId } from "../app/ids";
import { ExecutionLink } from "../components/ExecutionLink";
import { ErrorAlert } from "../components/Feedback";
import { differences } from "./differences";
import { readWhole, type Side } from "./payloads";
import { previousRunQuery } from "./previous";

interface Props {
  executionId: string;
  nodeId: string;
  side: Side;
  value: unknown;
}

const sizeOf = (value: unknown): string =>
  formatSize(isTruncated(value) ? value.size : (JSON.stringify(value) ?? "").length);

/** Shows the paths at which a payload differs from that of the previous execution. */
export function Compare({ executionId, nodeId, side, value }: Props) {
  const { t } = useTranslation();
  const previous = useQuery(previousRunQuery(executionId, nodeId));
  const [isWholeWanted, setWholeWanted] = useState(false);
  const before = previous.data?.log[side];
  const isLarge = isTruncated(before) || isTruncated(value);
  const whole = useQuery({
    queryKey: ["whole-difference", executionId, nodeId, side],
    enabled: isWholeWanted && isLarge && previous.data !== null,
    gcTime: 0,
    queryFn: async () => {
      const ids = [previous.data?.executionId ?? "", executionId];
      const [a, b] = await Promise.all(ids.map((id) => readWhole(id, nodeId, side)));
      return differences(a, b);
    },
  });
  if (previous.isPending) return <Skeleton height={60} />;
  const error = previous.error ?? whole.error;
  if (error)
    return (
      <ErrorAlert error={error} retry={() => void (previous.error ? previous : whole).refetch()} />
    );
  if (!previous.data)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("There is no previous execution of this node")}
      </Text>
    );
  const { executionId: id } = previous.data;
  if (isLarge && !whole.data)
    return (
      <Group gap={8} p="xs">
        <Text size="sm" c="dimmed">
          {t("{{before}} before, {{after}} now", { before: sizeOf(before), after: sizeOf(value) })}
        </Text>
        <Button
          size="compact-xs"
          variant="light"
          loading={whole.isFetching}
          onClick={() => setWholeWanted(true)}
        >
          {t("Load and compare all")}
        </Button>
      </Group>
    );
  const rows = whole.data ?? differences(before, value);
  if (rows.length === 0)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("The same as in")} <ExecutionLink id={id} />
      </Text>
    );
  return (
    <Table fz="xs" verticalSpacing={4} className="differences">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>{t("Path")}</Table.Th>
          <Table.Th>
            <ExecutionLink id={id}>{shortId(id)}</ExecutionLink>
          </Table.Th>
          <Table.Th>{t("This execution")}</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {rows.map(({ path, before: old, after }) => (
          <Table.Tr key={path}>
            <Table.Td>
              <Code>{path || "(root)"}</Code>
            </Table.Td>
            <Table.Td className="removed">{old}</Table.Td>
            <Table.Td className="added">{after}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
