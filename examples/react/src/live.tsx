import "@xyflow/react/dist/style.css";
import "./live.css";
import { createRoot } from "react-dom/client";
import { WorkflowClient } from "workflow-orchestration-client";
import { WorkflowProvider } from "workflow-orchestration-client/react";
import document from "./city-report.json";
import { Report } from "./Report";

const client = new WorkflowClient({ baseUrl: import.meta.env.VITE_SERVICE_URL });

createRoot(window.document.getElementById("root") as HTMLElement).render(
  <WorkflowProvider client={client}>
    <Report doc={document} />
  </WorkflowProvider>,
);
