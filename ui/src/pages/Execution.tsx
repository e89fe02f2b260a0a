import "../run/run.css";
import { Alert, Box, Drawer, Skeleton, Stack, Tabs, Text } from "@mantine/core";
import { useHotkeys, useMediaQuery } from "@mantine/hooks";
import { IconPlayerPause, IconWifiOff } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect } from "react";
import { useTranslation } from "react-i18next";
import { isTruncated } from "workflow-orchestration-client";
import { useExecution } from "workflow-orchestration-client/react";
import { useStatusIcon } from "../app/favicon";
import type { RunSearch } from "../app/router";
import { Empty, ErrorAlert } from "../components/Feedback";
import { lookOf } from "../components/Status";
import { useChildRuns } from "../run/children";
import { definitionQuery } from "../run/definition";
import { RunHeader } from "../run/Header";
import { Logs } from "../run/Logs";
import { NodePanel } from "../run/NodePanel";
import { OnDemand } from "../run/OnDemand";
import { detailsQuery, readResult } from "../run/payloads";
import { Timeline } from "../run/Timeline";
import { childIdsOf, useRunView } from "../run/view";
import { waitsForAnswer } from "../run/waits";

const Graph = lazy(() => import("../run/Graph"));

export function ExecutionPage() {
  const { t } = useTranslation();
  const { executionId } = useParams({ strict: false }) as { executionId: string };
  const search: RunSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const isNarrow = useMediaQuery("(max-width: 1099px)");
  const { execution, connection, error, retry } = useExecution(executionId);
  const definition = useQuery(definitionQuery(executionId));
  const details = useQuery(detailsQuery(executionId));
  const { refetch } = details;
  const status = execution?.status;

  // The times are not part of the events.
  // biome-ignore lint/correctness/useExhaustiveDependencies: at every change of the status
  useEffect(() => void refetch(), [status, refetch]);
  useStatusIcon(status);
  useEffect(() => {
    const name = definition.data?.workflowName;
    document.title = [name ?? t("Execution"), status ? t(lookOf(status).label) : null]
      .filter(Boolean)
      .join(" · ");
    const announcer = document.getElementById("announcer");
    if (announcer && status) announcer.textContent = t(lookOf(status).label);
  }, [definition.data, status, t]);

  const set = (change: RunSearch) =>
    void navigate({
      to: "/executions/$executionId",
      params: { executionId },
      search: { ...search, ...change },
      replace: change.tab === undefined && (search.node !== undefined || !("node" in change)),
    });
  const children = useChildRuns(childIdsOf(search));
  const view = useRunView(executionId, search, set, definition.data, children);
  const { selected } = view;
  const select = (runId: string | undefined) =>
    view.select(runId === undefined ? undefined : { executionId, runId });
  useHotkeys([["Escape", () => select(undefined)]]);

  if (!execution) {
    return (
      <div className="page">
        {error ? (
          <ErrorAlert error={error} retry={retry} />
        ) : (
          <Stack gap="md" aria-busy="true" aria-label={t("Loading")}>
            <Skeleton height={28} width={320} />
            <Skeleton height={14} width={220} />
            <Skeleton height={420} />
          </Stack>
        )}
      </div>
    );
  }
  const tab = search.tab ?? "graph";
  const waiting = [...execution.nodes.values()].find(waitsForAnswer);
  const child = selected && children.get(selected.executionId);
  const shown = selected?.executionId === executionId ? execution : child?.execution;
  const panel =
    selected &&
    (shown ? (
      <NodePanel
        key={`${selected.executionId}/${selected.runId}`}
        executionId={selected.executionId}
        execution={shown}
        document={(child ? child.definition : definition.data)?.data}
        runId={selected.runId}
        onSelect={(runId) => view.select({ ...selected, runId })}
        onClose={() => select(undefined)}
      />
    ) : (
      <Box p="sm" w="100%">
        {child?.error ? <ErrorAlert error={child.error} /> : <Skeleton height={120} />}
      </Box>
    ));
  return (
    <div className="run">
      <RunHeader
        executionId={executionId}
        execution={execution}
        details={details.data}
        definition={definition.data}
        onSelect={select}
      />
      {waiting && search.node === undefined && (
        <Alert color="violet" icon={<IconPlayerPause size={18} />} className="banner">
          <button
            type="button"
            className="link-button"
            onClick={() => select(waiting.nodeId ?? undefined)}
          >
            {waiting.message ||
              t("“{{node}}” waits for an answer", { node: waiting.nodeLabel ?? waiting.nodeId })}
          </button>
        </Alert>
      )}
      {execution.active && connection === "connecting" && (
        <Text size="xs" c="dimmed" className="banner">
          <IconWifiOff size={12} /> {t("Connecting…")}
        </Text>
      )}
      <div className="run-body">
        <Tabs
          value={tab}
          onChange={(value) => set({ tab: value as RunSearch["tab"] })}
          keepMounted={false}
          className="run-main"
        >
          <Tabs.List>
            <Tabs.Tab value="graph">{t("Graph")}</Tabs.Tab>
            <Tabs.Tab value="timeline">{t("Timeline")}</Tabs.Tab>
            <Tabs.Tab value="logs">{t("Logs")}</Tabs.Tab>
            <Tabs.Tab value="result">{t("Result")}</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="graph">
            {definition.isPending ? (
              <GraphSkeleton />
            ) : definition.data ? (
              <Suspense fallback={<GraphSkeleton />}>
                <Graph
                  document={definition.data.data}
                  execution={execution}
                  openings={view.openings}
                  childRuns={children}
                  selected={selected}
                  onSelect={view.select}
                  onToggle={view.toggle}
                  onShow={view.show}
                />
              </Suspense>
            ) : (
              <ErrorAlert error={definition.error} retry={() => void definition.refetch()} />
            )}
            {definition.data === null && (
              <Empty
                icon={null}
                title={t("Another program created this execution, so that its graph is unknown")}
              />
            )}
          </Tabs.Panel>
          <Tabs.Panel value="timeline">
            <Timeline
              execution={execution}
              createdAt={details.data?.createdAt}
              startedAt={details.data?.startedAt}
              openings={view.openings}
              childRuns={children}
              selected={selected}
              onSelect={view.select}
              onToggleChild={view.toggleChild}
            />
          </Tabs.Panel>
          <Tabs.Panel value="logs">
            <Logs
              execution={execution}
              selected={search.child === undefined ? search.node : undefined}
              onSelect={select}
            />
          </Tabs.Panel>
          <Tabs.Panel value="result" p="sm">
            {execution.active ? (
              <Text size="sm" c="dimmed">
                {t("The result appears when the execution has ended")}
              </Text>
            ) : (
              <OnDemand
                key={executionId}
                value={
                  execution.finalOutput === null || isTruncated(execution.finalOutput)
                    ? (details.data?.finalOutput ?? execution.finalOutput)
                    : execution.finalOutput
                }
                name={executionId}
                read={() => readResult(executionId)}
              />
            )}
          </Tabs.Panel>
        </Tabs>
        {panel &&
          (isNarrow ? (
            <Drawer
              opened
              onClose={() => select(undefined)}
              position="bottom"
              size="80%"
              withCloseButton={false}
              padding={0}
              title={undefined}
              aria-label={t("Node")}
            >
              {panel}
            </Drawer>
          ) : (
            <aside className="run-side">{panel}</aside>
          ))}
      </div>
    </div>
  );
}

function GraphSkeleton() {
  return (
    <Box p="sm">
      <Skeleton height={340} />
    </Box>
  );
}
