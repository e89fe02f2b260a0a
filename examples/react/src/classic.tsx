// The classic way: POST, close the browser if you like, and ask every five seconds.
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const POLL_MS = 5_000;
type Execution = { status: string; progress: { percentage: number }; finalOutput: unknown };

async function call(path: string, body?: object) {
  const response = await fetch(`${import.meta.env.VITE_SERVICE_URL}/api${path}`, {
    method: body ? "POST" : "GET",
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

function Report() {
  const [id, setId] = useState(() => localStorage.getItem("classic-execution"));
  const [execution, setExecution] = useState<Execution>();
  const [error, setError] = useState<string>();

  async function run() {
    try {
      const request = { workflowId: "city-report", inputs: { city: "Lima" } };
      const { executionId } = await call("/workflows/execute", request);
      localStorage.setItem("classic-execution", executionId);
      setId(executionId);
    } catch (thrown) {
      setError(String(thrown));
    }
  }

  useEffect(() => {
    if (!id) return;
    let timer: ReturnType<typeof setTimeout>;
    let isStopped = false;
    async function poll() {
      const next = await call(`/executions/${id}`).catch((thrown) => ({ error: String(thrown) }));
      if (isStopped) return;
      setError(next.error);
      if (next.status) setExecution(next);
      if (!["completed", "failed", "cancelled"].includes(next.status))
        timer = setTimeout(poll, POLL_MS);
    }
    void poll();
    return () => {
      isStopped = true;
      clearTimeout(timer);
    };
  }, [id]);

  return (
    <main>
      <button type="button" onClick={run}>
        Run
      </button>
      <progress max={100} value={execution?.progress.percentage ?? 0} />
      <p role="status">{execution?.status}</p>
      <pre>{JSON.stringify(execution?.finalOutput, null, 2)}</pre>
      {error && <p role="alert">{error}</p>}
    </main>
  );
}

createRoot(document.getElementById("root") as HTMLElement).render(<Report />);
