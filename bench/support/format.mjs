/** Numbers and tables of the report. */

/** A Markdown table. */
export function table(head, rows) {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Three figures: 0.0123, 1.23, 12.3, 1,234. */
export function figure(value) {
  if (value === undefined || Number.isNaN(value)) return "";
  if (Math.abs(value) >= 100 || value === 0) return whole(value);
  return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

export const ms = (value) => value.toFixed(2);
export const whole = (value) => Math.round(value).toLocaleString("en-US");

/** A median with its interval or its quartiles. */
export const spread = ({ median, low, high }, format = figure) =>
  `${format(median)} (${format(low)} to ${format(high)})`;

export const ratio = (interval) => spread(interval, ms);
