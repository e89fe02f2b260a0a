import { useEffect } from "react";

const COLORS: Record<string, string> = {
  pending: "#868e96",
  running: "#228be6",
  waiting: "#7950f2",
  completed: "#2f9e44",
  failed: "#e03131",
  cancelled: "#e8590c",
};

/** Shows the status of an execution in the icon of the tab. */
export function useStatusIcon(status: string | null | undefined): void {
  useEffect(() => {
    const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
    const color = COLORS[status ?? ""];
    if (!link || !color) return;
    const before = link.href;
    const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="13" fill="${color}"/></svg>`;
    link.href = `data:image/svg+xml,${encodeURIComponent(image)}`;
    return () => {
      link.href = before;
    };
  }, [status]);
}
