/** The contract of a job in a list, and below it the queue. */
export function ContractName({ name, queue }: { name: string; queue: string }) {
  return (
    <div>
      {name}
      <div class="hint">
        <span class="unseen">queue </span>
        {queue}
      </div>
    </div>
  );
}
