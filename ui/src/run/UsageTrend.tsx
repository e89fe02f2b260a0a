import { Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { WorkflowUsage } from "workflow-orchestration-client";
import { Bars, type PastRun } from "../components/Trends";
import { countsOf, formatCost, formatTokens, sumOf } from "./usage";

/** The tokens and the cost of the last executions of a workflow. */
export function UsageTrend({
  usages,
  runs,
}: {
  usages: WorkflowUsage["executions"];
  runs: readonly PastRun[];
}) {
  const { t, i18n } = useTranslation();
  const { language } = i18n;
  const byId = new Map(usages.map((usage) => [usage.executionId, usage]));
  const total = sumOf(usages);
  const costOf = (usd: number | null) => (usd === null ? "–" : formatCost(usd, language));
  const figures: [string, string][] = [
    [formatTokens(total.totalTokens, language), t("tokens")],
    [formatTokens(total.totalTokens / usages.length, language), t("tokens per execution")],
  ];
  if (total.costUsd !== null)
    figures.push(
      [costOf(total.costUsd), t("cost")],
      [costOf(total.costUsd / usages.length), t("cost per execution")],
    );
  return (
    <>
      <Bars
        runs={runs.filter(({ id }) => byId.has(id))}
        height={40}
        count={40}
        sizeOf={({ id }) => byId.get(id)?.totalTokens ?? 0}
        textOf={({ id }) => {
          const usage = byId.get(id);
          if (!usage) return "";
          const tokens = t("{{input}} in, {{output}} out", countsOf(usage, language));
          return usage.costUsd === null ? tokens : `${tokens} · ${costOf(usage.costUsd)}`;
        }}
      />
      <div className="figures">
        {figures.map(([value, name]) => (
          <div key={name}>
            <Text fw={600} className="number">
              {value}
            </Text>
            <Text size="xs" c="dimmed">
              {name}
            </Text>
          </div>
        ))}
      </div>
    </>
  );
}
