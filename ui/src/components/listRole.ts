/** Properties of a list for screen readers; without rows there is no list, only a message. */
export function listRole(label: string, count: number) {
  return count > 0 ? { role: "list", "aria-label": label } : {};
}
