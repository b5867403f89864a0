import { svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 84;
const SAMPLES = 60;

/** The last samples of active and idle agents, one on top of the other. */
export class AgentsChart {
  element = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    class: "chart",
  });
  #samples = [];
  #idle = svg("path", { class: "idle" });
  #active = svg("path", { class: "active" });

  constructor() {
    this.element.append(this.#idle, this.#active);
  }

  add(active, idle) {
    this.#samples = [...this.#samples, { active, idle }].slice(-SAMPLES);
    const peak = Math.max(4, ...this.#samples.map((sample) => sample.active + sample.idle));
    const y = (count) => HEIGHT - 1 - (count / peak) * (HEIGHT - 6);
    this.#active.setAttribute(
      "d",
      this.#area(
        () => y(0),
        ({ active: count }) => y(count),
      ),
    );
    this.#idle.setAttribute(
      "d",
      this.#area(
        ({ active: count }) => y(count),
        (sample) => y(sample.active + sample.idle),
      ),
    );
    this.element.setAttribute("aria-label", `Agents over time. Now ${active} active and ${idle} idle.`);
  }

  /** The area between two heights, with steps: an agent is there or it is not. */
  #area(from, to) {
    const step = WIDTH / SAMPLES;
    const left = WIDTH - this.#samples.length * step;
    const edge = (height) =>
      this.#samples.flatMap((sample, index) =>
        [left + index * step, left + (index + 1) * step].map(
          (x) => `${x.toFixed(1)},${height(sample).toFixed(1)}`,
        ),
      );
    return `M${edge(to).join("L")}L${edge(from).reverse().join("L")}Z`;
  }
}
