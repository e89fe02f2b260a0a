import "../run/run.css";
import {
  Badge,
  Button,
  Card,
  Code,
  Group,
  Skeleton,
  Stack,
  Text,
  Title,
  Tooltip,
} from "@mantine/core";
import { IconCalendarTime, IconPlayerPause, IconPlayerPlay } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { Schedule } from "workflow-orchestration-client";
import { schedulesQuery } from "workflow-orchestration-client/query";
import { client, queryClient } from "../app/client";
import { formatAgo, formatDuration, formatTime, useNow } from "../app/format";
import { ExecutionLink } from "../components/ExecutionLink";
import { Empty, ErrorAlert } from "../components/Feedback";
import { LoadMore } from "../components/LoadMore";

const REFRESH_MS = 15_000;
const NEXT_COUNT = 10;
const COLORS = new Map<Schedule["status"], string>([
  ["active", "green"],
  ["paused", "gray"],
  ["blocked", "violet"],
  ["invalid", "red"],
]);

/** The schedules of saved workflows: their next instants, and pause and resume. */
export function Schedules() {
  const { t } = useTranslation();
  const list = useInfiniteQuery({ ...schedulesQuery(client), refetchInterval: REFRESH_MS });
  const schedules = list.data?.pages.flatMap((page) => page.schedules) ?? [];
  return (
    <div className="page narrow">
      <Title order={1} mb="sm">
        {t("Schedules")}
      </Title>
      <ErrorAlert error={list.error} retry={() => void list.refetch()} />
      <Stack gap="sm">
        {list.isPending && <Skeleton height={120} />}
        {schedules.map((schedule) => (
          <ScheduleCard key={schedule.id} schedule={schedule} />
        ))}
        {list.isSuccess && schedules.length === 0 && (
          <Empty icon={<IconCalendarTime size={32} stroke={1.2} />} title={t("No schedules yet")}>
            <Text size="sm">{t("A saved workflow with a schedule node appears here")}</Text>
          </Empty>
        )}
        <LoadMore
          hasMore={list.hasNextPage}
          isLoading={list.isFetchingNextPage}
          onLoad={list.fetchNextPage}
        />
      </Stack>
    </div>
  );
}

function ScheduleCard({ schedule }: { schedule: Schedule }) {
  const { t, i18n } = useTranslation();
  const now = useNow(true, 1_000);
  const [isOpen, setOpen] = useState(false);
  const isPaused = schedule.pausedAt !== null;
  const change = useMutation({
    mutationFn: () =>
      isPaused ? client.resumeSchedule(schedule.id) : client.pauseSchedule(schedule.id),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: schedulesQuery(client).queryKey }),
  });
  const time = (at: string) => formatTime(at, i18n.language);
  return (
    <Card withBorder>
      <Group justify="space-between" wrap="nowrap" align="flex-start">
        <div className="panel-title">
          <Group gap={8}>
            <Link
              to="/workflows/$workflowId"
              params={{ workflowId: schedule.workflowId }}
              className="title-link"
            >
              {schedule.workflowName}
            </Link>
            <Badge tt="none" color={COLORS.get(schedule.status)}>
              {t(schedule.status)}
            </Badge>
          </Group>
          <Text size="xs" c="dimmed">
            {schedule.nodeId}
            {schedule.organizationId ? ` · ${schedule.organizationId}` : ""}
          </Text>
        </div>
        {schedule.status !== "invalid" && (
          <Button
            variant="light"
            color={isPaused ? "green" : "gray"}
            leftSection={isPaused ? <IconPlayerPlay size={14} /> : <IconPlayerPause size={14} />}
            loading={change.isPending}
            onClick={() => change.mutate()}
          >
            {isPaused ? t("Resume") : t("Pause")}
          </Button>
        )}
      </Group>
      <ErrorAlert error={change.error} />
      {schedule.error && (
        <Text size="sm" c="var(--mantine-color-red-text)" mt={6}>
          {schedule.error}
        </Text>
      )}
      <dl className="facts schedule-facts">
        {(schedule.cron || schedule.everySeconds) && (
          <div>
            <dt>{t("Rhythm")}</dt>
            <dd>
              {schedule.cron ? (
                <Code>{schedule.cron}</Code>
              ) : (
                t("every {{time}}", { time: formatDuration((schedule.everySeconds ?? 0) * 1000) })
              )}
              {schedule.timezone ? ` ${schedule.timezone}` : ""}
            </dd>
          </div>
        )}
        {schedule.nextAt && (
          <div>
            <dt>{t("Next")}</dt>
            <dd>
              <Tooltip label={time(schedule.nextAt)}>
                <span className="number">{formatAgo(schedule.nextAt, now, i18n.language)}</span>
              </Tooltip>{" "}
              <button
                type="button"
                className="link-button"
                aria-expanded={isOpen}
                onClick={() => setOpen(!isOpen)}
              >
                {isOpen ? t("Hide") : t("Show the next {{count}}", { count: NEXT_COUNT })}
              </button>
            </dd>
          </div>
        )}
        {schedule.lastInstant && (
          <div>
            <dt>{t("Last")}</dt>
            <dd>
              {time(schedule.lastInstant)}{" "}
              {schedule.lastExecutionId && <ExecutionLink id={schedule.lastExecutionId} />}
            </dd>
          </div>
        )}
        {schedule.lastSkippedInstant && (
          <div>
            <dt>{t("Last skipped")}</dt>
            <dd>
              {time(schedule.lastSkippedInstant)} ({schedule.lastSkipReason})
            </dd>
          </div>
        )}
      </dl>
      {isOpen && <NextInstants id={schedule.id} />}
    </Card>
  );
}

function NextInstants({ id }: { id: string }) {
  const { i18n } = useTranslation();
  const { data, error } = useQuery({
    queryKey: ["next-instants", id],
    queryFn: ({ signal }) => client.getSchedule(id, { next: NEXT_COUNT }, { signal }),
  });
  if (error) return <ErrorAlert error={error} />;
  if (!data) return <Skeleton height={80} mt={8} />;
  return (
    <ol className="instants number">
      {data.next.map((instant) => (
        <li key={instant}>{formatTime(instant, i18n.language)}</li>
      ))}
    </ol>
  );
}
