import "./app/mantine.css";
import "./app/app.css";
import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { WorkflowProvider } from "workflow-orchestration-client/react";
import { client, queryClient } from "./app/client";
import { startLanguages } from "./app/i18n";
import { router } from "./app/router";
import { cssVariables, theme } from "./app/theme";

void startLanguages().then(() =>
  createRoot(document.getElementById("root") as HTMLElement).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto">
        <QueryClientProvider client={queryClient}>
          <WorkflowProvider client={client}>
            <RouterProvider router={router} />
          </WorkflowProvider>
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  ),
);
