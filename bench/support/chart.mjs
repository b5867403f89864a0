/**
 * Charts as SVG, from the numbers of the tables. Each brings a background of its own, light or dark as the reader's
 * system is, so that it can be read on any page.
 */
import { figure } from "./format.mjs";

const WIDTH = 720;
const COLOURS = ["--a", "--b", "--c", "--d", "--e", "--f"];
const STYLE = `<style>
svg { --page: #ffffff; --ink: #1f2328; --soft: #59636e; --grid: #d1d9e0; --a: #0969da; --b: #bc4c00; --c: #1a7f37; --d: #8250df; --e: #9a6700; --f: #59636e; }
@media (prefers-color-scheme: dark) { svg { --page: #0d1117; --ink: #f0f6fc; --soft: #9198a1; --grid: #3d444d; --a: #4493f8; --b: #f0883e; --c: #3fb950; --d: #ab7df8; --e: #d29922; --f: #9198a1; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); } .title { font-weight: 600; font-size: 14px; } .soft { fill: var(--soft); }
.grid { stroke: var(--grid); } .end { text-anchor: end; } .middle { text-anchor: middle; } path { fill: none; stroke-width: 2; }
</style>`;

const escaped = (text) =>
  String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
const text = (x, y, content, kind = "") =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}">${escaped(content)}</text>`;

const number = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 3 });

function chart(name, title, height, body) {
  const frame = `<rect width="${WIDTH}" height="${height}" rx="6" style="fill: var(--page)"/>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(title)}">\n${STYLE}\n${[frame, text(16, 26, title, "title"), ...body].join("\n")}\n</svg>\n`;
  return { name, alt: title, svg };
}

/** Colours of the series, named. */
function legend(names, x, y) {
  let at = x;
  return names.flatMap((name, index) => {
    const from = at;
    at += 28 + 6.8 * name.length;
    return [
      `<rect x="${from.toFixed(1)}" y="${y - 9}" width="10" height="10" rx="2" style="fill: var(${COLOURS[index]})"/>`,
      text(from + 14, y, name),
    ];
  });
}

/**
 * Horizontal bars from 0, with one or more series.
 *
 *   groups: [{ label, values: [number | undefined, …] }], a value for each of `series`
 */
export function barChart({ name, title, unit, series = [""], groups }) {
  const left = 16 + 6.8 * Math.max(...groups.map(({ label }) => label.length));
  const most = Math.max(...groups.flatMap(({ values }) => values.filter((value) => value !== undefined)));
  const wide = WIDTH - left - 90;
  const body = series.length > 1 ? legend(series, 16, 50) : [];
  let y = series.length > 1 ? 66 : 44;
  for (const { label, values } of groups) {
    const tall = 16 * values.length;
    body.push(text(left - 6, y + tall / 2 + 4, label, "end"));
    for (const [index, value] of values.entries()) {
      if (value !== undefined) {
        const width = Math.max(1, (value / most) * wide);
        body.push(
          `<rect x="${left.toFixed(1)}" y="${y + 1}" width="${width.toFixed(1)}" height="14" rx="2" style="fill: var(${COLOURS[index]})"/>`,
          text(left + width + 5, y + 12, figure(value)),
        );
      }
      y += 16;
    }
    y += 10;
  }
  body.push(text(left, y + 8, unit, "soft"));
  return chart(name, title, y + 22, body);
}

/**
 * Lines over a number; either axis may be logarithmic, else it begins at 0.
 *
 *   series: [{ name, points: [[x, y], …] }]
 */
export function lineChart({ name, title, x, y, series }) {
  const [left, right, top, bottom] = [64, WIDTH - 24, 88, 330];
  const points = series.flatMap((one) => one.points);
  const across = scale(
    points.map(([value]) => value),
    x.log,
    left,
    right,
  );
  const up = scale(
    points.map(([, value]) => value),
    y.log,
    bottom,
    top,
  );
  const body = legend(
    series.map((one) => one.name),
    16,
    50,
  );
  for (const tick of up.ticks) {
    const at = up.at(tick).toFixed(1);
    body.push(
      `<line x1="${left}" x2="${right}" y1="${at}" y2="${at}" class="grid"/>`,
      text(left - 6, up.at(tick) + 4, number(tick), "soft end"),
    );
  }
  for (const tick of [...new Set(points.map(([value]) => value))]) {
    body.push(text(across.at(tick), bottom + 18, number(tick), "soft middle"));
  }
  for (const [index, one] of series.entries()) {
    const at = one.points.map(([a, b]) => `${across.at(a).toFixed(1)},${up.at(b).toFixed(1)}`);
    body.push(`<path d="M${at.join("L")}" style="stroke: var(${COLOURS[index]})"/>`);
    for (const point of at) {
      const [cx, cy] = point.split(",");
      body.push(`<circle cx="${cx}" cy="${cy}" r="3.5" style="fill: var(${COLOURS[index]})"/>`);
    }
  }
  body.push(
    text((left + right) / 2, bottom + 38, x.label, "soft middle"),
    text(16, top - 14, y.label, "soft"),
  );
  return chart(name, title, bottom + 52, body);
}

function scale(values, log, from, to) {
  const most = Math.max(...values);
  const least = log ? Math.min(...values) : 0;
  if (log) {
    const [low, high] = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(most) + 1e-9)];
    // Half a step on either side is enough of an empty margin.
    const [start, end] = [Math.max(low, Math.log10(least) - 0.15), Math.min(high, Math.log10(most) + 0.15)];
    const at = (value) => from + ((Math.log10(value) - start) / (end - start)) * (to - from);
    const ticks = [];
    for (let power = low; power <= high; power += 1) {
      for (const part of end - start > 2.2 ? [1] : [1, 2, 5]) ticks.push(part * 10 ** power);
    }
    return { at, ticks: ticks.filter((tick) => Math.log10(tick) >= start && Math.log10(tick) <= end) };
  }
  const step = [1, 2, 5, 10].map((part) => part * 10 ** Math.floor(Math.log10(most / 4)));
  const size = step.find((one) => most / one <= 5) ?? step.at(-1);
  const end = Math.ceil(most / size) * size;
  const at = (value) => from + ((value - least) / (end - least)) * (to - from);
  return { at, ticks: Array.from({ length: Math.round(end / size) + 1 }, (_, index) => index * size) };
}
