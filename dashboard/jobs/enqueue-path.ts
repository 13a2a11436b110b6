/** Where the form of a contract is. Several queues may have contracts of one name, so that its queue is named too. */
export function enqueuePath(
  { name, version, queue }: { name: string; version: number; queue: string },
  more: Readonly<Record<string, string>> = {},
): string {
  return `/jobs/enqueue?${new URLSearchParams({ contract: name, version: String(version), queue, ...more })}`;
}
