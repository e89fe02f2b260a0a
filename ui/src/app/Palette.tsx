import "@mantine/spotlight/styles.css";
import { Spotlight, spotlight } from "@mantine/spotlight";
import {
  IconAlertTriangle,
  IconCalendarTime,
  IconList,
  IconPlus,
  IconSearch,
  IconUserCheck,
  IconVectorBezier,
} from "@tabler/icons-react";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { workflowsQuery } from "workflow-orchestration-client/query";
import { client } from "./client";

/** Commands and workflows, with Ctrl K. */
export default function Palette() {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const [isOpen, setOpen] = useState(false);
  // It is loaded by the first Ctrl K, which therefore has to open it.
  useEffect(() => spotlight.open(), []);
  const { data } = useInfiniteQuery({ ...workflowsQuery(client), enabled: isOpen });
  const workflows = data?.pages.flatMap((page) => page.workflows) ?? [];
  const actions = [
    {
      id: "executions",
      label: t("Executions"),
      leftSection: <IconList size={18} />,
      onClick: () => void navigate({ to: "/" }),
    },
    {
      id: "workflows",
      label: t("Workflows"),
      leftSection: <IconVectorBezier size={18} />,
      onClick: () => void navigate({ to: "/workflows" }),
    },
    {
      id: "tasks",
      label: t("Tasks"),
      leftSection: <IconUserCheck size={18} />,
      onClick: () => void navigate({ to: "/tasks" }),
    },
    {
      id: "failures",
      label: t("Failures"),
      leftSection: <IconAlertTriangle size={18} />,
      onClick: () => void navigate({ to: "/failures" }),
    },
    {
      id: "schedules",
      label: t("Schedules"),
      leftSection: <IconCalendarTime size={18} />,
      onClick: () => void navigate({ to: "/schedules" }),
    },
    {
      id: "new",
      label: t("New run"),
      leftSection: <IconPlus size={18} />,
      onClick: () => void navigate({ to: "/new" }),
    },
    ...workflows.map(({ id, name }) => ({
      id: `workflow:${id}`,
      label: name,
      description: id,
      leftSection: <IconVectorBezier size={18} />,
      onClick: () => void navigate({ to: "/workflows/$workflowId", params: { workflowId: id } }),
    })),
  ];
  return (
    <Spotlight
      shortcut={["mod + K"]}
      onSpotlightOpen={() => setOpen(true)}
      actions={actions}
      limit={12}
      nothingFound={t("Nothing found")}
      searchProps={{
        leftSection: <IconSearch size={18} />,
        placeholder: t("Search"),
        "aria-label": t("Search"),
      }}
    />
  );
}
