import { Anchor } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { shortId } from "../app/ids";

/** A link to an execution; without children, it shows the short id. */
export function ExecutionLink({
  id,
  node,
  children,
}: {
  id: string;
  node?: string;
  children?: ReactNode;
}) {
  return (
    <Anchor
      component={Link}
      to="/executions/$executionId"
      params={{ executionId: id } as never}
      search={(node === undefined ? {} : { node }) as never}
      inherit
      ff={children === undefined ? "monospace" : undefined}
    >
      {children ?? shortId(id)}
    </Anchor>
  );
}
