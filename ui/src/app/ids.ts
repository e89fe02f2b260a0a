const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-/;
const MAX_LENGTH = 24;

/** Workflow of all documents that run unsaved; `:` and an organization may follow. */
const UNSAVED = "orchestrator-inline";
export const isUnsaved = (workflowId: string): boolean => workflowId.split(":")[0] === UNSAVED;

/** Returns an id as it is shown: the first part of a UUID, and any other id as a whole if it is short. */
export function shortId(id: string): string {
  if (UUID.test(id)) {
    return id.slice(0, 8);
  }
  return id.length > MAX_LENGTH ? `${id.slice(0, MAX_LENGTH - 1)}…` : id;
}
