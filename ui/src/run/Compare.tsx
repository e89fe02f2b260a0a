import { Code, Skeleton, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { nodeLogQuery } from "workflow-orchestration-client/query";
import { client } from "../app/client";
import { shortId } from "../app/ids";
import { differences } from "./differences";

interface Props {
  executionId: string;
  workflowId: string | null;
  nodeId: string;
  side: "inputData" | "outputData";
  value: unknown;
}

/** Shows the paths at which a payload differs from that of the previous execution. */
export function Compare({ executionId, workflowId, nodeId, side, value }: Props) {
  const { t } = useTranslation();
  const previous = useQuery({
    queryKey: ["previous", executionId, nodeId],
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }) => {
      const { executions } = await client.listExecutions(
        { workflowId: workflowId ?? undefined, limit: 200 },
        { signal },
      );
      const at = executions.findIndex(({ id }) => id === executionId);
      const before = executions
        .slice(at + 1)
        .find(({ status }) => status === "completed" || status === "failed");
      if (at < 0 || !before) return null;
      const { queryFn } = nodeLogQuery(client, before.id, nodeId);
      const log = await (
        queryFn as (context: { signal: AbortSignal }) => Promise<{ [key: string]: unknown } | null>
      )({ signal });
      return log ? { id: before.id, log } : null;
    },
  });
  if (previous.isPending) return <Skeleton height={60} />;
  if (!previous.data)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("There is no previous execution of this node")}
      </Text>
    );
  const rows = differences(previous.data.log[side], value);
  if (rows.length === 0)
    return (
      <Text size="sm" c="dimmed" p="xs">
        {t("The same as in {{id}}", { id: shortId(previous.data.id) })}
      </Text>
    );
  return (
    <Table fz="xs" verticalSpacing={4} className="differences">
      <Table.Thead>
        <Table.Tr>
          <Table.Th>{t("Path")}</Table.Th>
          <Table.Th>{shortId(previous.data.id)}</Table.Th>
          <Table.Th>{t("This execution")}</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {rows.map(({ path, before, after }) => (
          <Table.Tr key={path}>
            <Table.Td>
              <Code>{path || "(root)"}</Code>
            </Table.Td>
            <Table.Td className="removed">{before}</Table.Td>
            <Table.Td className="added">{after}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}
