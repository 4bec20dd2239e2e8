/** Bars in SVG: lying, for names with parts that add up, or standing, for counts by a number. */

import { svg, replace } from "../dom.js";
import { drawToWidth, makeFrame } from "./frame.js";
import { niceRange, niceTicks, scale, showNumber } from "./scale.js";

const LINE = 34;
const BOTTOM = 26;
const RIGHT = 12;

/**
 * @typedef {object} Bar
 * @property {string} name
 * @property {number} [value]
 * @property {{name: string, value: number}[]} [parts] in place of the value: they add up
 * @property {string} [note] what is said behind a lying bar; its value without one
 */

/**
 * @typedef {object} BarOptions
 * @property {string} title
 * @property {Bar[]} bars
 * @property {boolean} [standing]
 * @property {number} [height] of standing bars, in pixels
 * @property {(value: number) => string} [show]
 * @property {string} [nameOfBars] for the table
 * @property {string} [nameOfValues] for the table, where bars have no parts
 */

/**
 * @param {BarOptions} options
 * @returns {{element: HTMLElement, update: (options: BarOptions) => void}}
 */
export function barChart(options) {
  const frame = makeFrame();
  const drawing = svg("svg", { class: "chart-drawing", role: "img" });
  frame.body.append(drawing);
  let now = options;
  let width = 0;
  const draw = () => {
    const chart = describeBars(now);
    frame.caption(
      now.title,
      chart.names.length > 1 ? chart.names.map((name, i) => ({ name, tone: i + 1, mark: "solid" })) : [],
    );
    frame.table([now.nameOfBars ?? "Name", ...chart.names], () => chart.rows);
    drawing.setAttribute("aria-label", chart.text);
    if (!width) return;
    const { height, parts } = now.standing ? stand(chart, now, width) : lie(chart, width);
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("width", width);
    drawing.setAttribute("height", height);
    replace(drawing, ...parts);
  };
  draw();
  drawToWidth(frame.body, (found) => {
    width = found;
    draw();
  });
  return {
    element: frame.element,
    update(changed) {
      now = changed;
      draw();
    },
  };
}

function describeBars({ title, bars, show = showNumber, nameOfValues = "Value" }) {
  const whole = bars.map(({ name, value, parts, note }) => {
    const all = parts ?? [{ name: nameOfValues, value: value ?? 0 }];
    const total = all.reduce((sum, part) => sum + part.value, 0);
    return { name, parts: all, total, note: note ?? show(total) };
  });
  const names = [...new Set(whole.flatMap(({ parts }) => parts.map((part) => part.name)))];
  const rows = whole.map(({ name, parts }) => [
    name,
    ...names.map((each) => show(parts.find((part) => part.name === each)?.value ?? 0)),
  ]);
  const text = `${title}. ${whole.map(({ name, note }) => `${name}: ${note}`).join("; ") || "No values yet"}.`;
  return { whole, names, rows, text, show, most: Math.max(0, ...whole.map(({ total }) => total)) };
}

function lie({ whole, names, most }, width) {
  const longest = Math.max(0, ...whole.map(({ note }) => note.length));
  const toX = scale(0, most || 1, 0, Math.max(10, width - longest * 7.5 - 10));
  const parts = whole.flatMap(({ name, parts: of, total, note }, i) => {
    const y = i * LINE;
    let begin = 0;
    const pieces = of.map((part) => {
      const from = toX(begin);
      begin += part.value;
      const shape = { class: `chart-bar tone-${names.indexOf(part.name) + 1}`, x: from, y: y + 16, height: 12 };
      return svg("rect", { ...shape, width: Math.max(part.value > 0 ? 1 : 0, toX(begin) - from) });
    });
    return [
      svg("text", { class: "chart-name", x: 0, y: y + 11 }, name),
      ...pieces,
      svg("text", { class: "chart-tick", x: toX(total) + 6, y: y + 26 }, note),
    ];
  });
  return { height: Math.max(1, whole.length) * LINE, parts };
}

function stand({ whole, most, show }, { height = 200 }, width) {
  const [, top] = niceRange(0, most || 1, 3);
  const ticks = niceTicks(0, top, 3);
  const left = Math.min(90, 14 + Math.max(...ticks.map((at) => show(at).length)) * 7);
  const bottom = height - BOTTOM;
  const toY = scale(0, top, bottom, 8);
  const step = (width - left - RIGHT) / Math.max(1, whole.length);
  const every = Math.max(1, Math.ceil((Math.max(0, ...whole.map(({ name }) => name.length)) * 7 + 8) / step));
  const grid = ticks.flatMap((at) => [
    svg("line", { class: "chart-grid", x1: left, x2: width - RIGHT, y1: toY(at), y2: toY(at) }),
    svg("text", { class: "chart-tick", x: left - 6, y: toY(at) + 4, "text-anchor": "end" }, show(at)),
  ]);
  const bars = whole.flatMap(({ name, total, note }, i) => {
    const x = left + i * step;
    const thick = Math.min(48, step * 0.8);
    const shape = { x: x + (step - thick) / 2, width: thick, y: toY(total), height: bottom - toY(total) };
    const label = { class: "chart-tick", x: x + step / 2, y: bottom + 18, "text-anchor": "middle" };
    return [
      svg("rect", { class: "chart-bar tone-1", ...shape }, svg("title", {}, `${name}: ${note}`)),
      ...(i % every === 0 ? [svg("text", label, name)] : []),
    ];
  });
  return { height, parts: [...grid, ...bars] };
}
