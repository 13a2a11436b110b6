/** A small chart of counts, the latest last. Its numbers stand in its title for those who do not see it. */
export function Sparkline({ counts, label }: { counts: readonly number[]; label: string }) {
  const most = Math.max(1, ...counts);
  const text = `${label}: ${counts.join(', ')}`;
  return (
    <svg
      class="sparkline"
      role="img"
      aria-label={text}
      width={counts.length * 4}
      height="20"
      viewBox={`0 0 ${counts.length * 4} 20`}
    >
      <title>{text}</title>
      {counts.map((count, index) => {
        const height = count === 0 ? 1 : Math.max(2, Math.round((count / most) * 20));
        return (
          <rect
            key={index}
            class={count === 0 ? 'none' : undefined}
            x={index * 4}
            y={20 - height}
            width="3"
            height={height}
          />
        );
      })}
    </svg>
  );
}
