/** Line charts in SVG: lines, bands between two lines, axes, and a cursor for pointer and keyboard. */

import { replace, svg, uniqueId } from "../dom.js";
import { drawToWidth, makeFrame } from "./frame.js";
import { extent, niceRange, niceTicks, scale, showNumber, thin } from "./scale.js";

const MARGIN = { top: 8, right: 12, bottom: 26, left: 52 };

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {(number|null)[]} values null is a gap
 * @property {number[]} [x] rising; the positions 0, 1, … without it
 * @property {boolean} [dashed]
 * @property {number} [tone] colour 1 to 6; its place among the lines without it
 * @property {boolean} [marked] a dot at each value
 */

/**
 * @typedef {object} Band
 * @property {string} name
 * @property {(number|null)[]} low
 * @property {(number|null)[]} high
 * @property {number[]} [x]
 * @property {number} [tone]
 * @property {boolean} [isPlain] its ends are lines of their own, so they are not said twice
 */

/**
 * @typedef {object} LineOptions
 * @property {string} title
 * @property {Line[]} series
 * @property {Band|Band[]} [band]
 * @property {string[]} [labels] texts of the positions 0, 1, …
 * @property {boolean} [isWhole] ticks are at whole positions only
 * @property {number} [height] in pixels
 * @property {[number, number]} [xRange]
 * @property {{at: number, text: string}[]} [xTicks]
 * @property {number} [least] a value that the axis has at least, such as 0
 * @property {number} [largest] a value that the axis has at least
 * @property {number} [unit] 1024 for ticks in powers of it, as for bytes
 * @property {(x: number) => string} [showX]
 * @property {(y: number) => string} [showY]
 * @property {string} [xName] what the positions are, for the table
 * @property {number} [divider] a position with a line from top to bottom
 */

/**
 * @param {LineOptions} options
 * @returns {{element: HTMLElement, update: (options: LineOptions) => void}}
 */
export function lineChart(options) {
  const chart = new LineChart(options);
  return { element: chart.frame.element, update: (changed) => chart.update(changed) };
}

class LineChart {
  constructor(options) {
    this.frame = makeFrame();
    this.width = 0;
    this.cursor = null; // a position in pixels
    this.clip = uniqueId("chart-clip");
    this.drawing = svg("svg", { class: "chart-drawing", role: "img", tabindex: "0", focusable: "true" });
    this.frame.body.append(this.drawing);
    this.listen();
    this.update(options);
    drawToWidth(this.frame.body, (width) => {
      this.width = width;
      this.draw();
    });
  }

  update(options) {
    this.options = options;
    const bands = [options.band ?? []].flat();
    this.lines = options.series.map((line, i) => ({
      tone: i + 1,
      ...line,
      x: line.x ?? line.values.map((_, at) => at),
    }));
    this.bands = bands.map((band) => ({ tone: 1, ...band, x: band.x ?? band.low.map((_, at) => at) }));
    this.showX = options.showX ?? ((x) => options.labels?.[x] ?? showNumber(x));
    this.showY = options.showY ?? showNumber;
    this.captionOnce();
    this.frame.table([options.xName ?? "Position", ...this.columns().map(({ name }) => name)], () => this.rows());
    if (this.width) this.draw();
  }

  captionOnce() {
    const { title } = this.options;
    const keys = [
      ...this.lines.map(({ name, tone, dashed }) => ({ name, tone, mark: dashed ? "dashed" : "line" })),
      ...this.bands.map(({ name, tone }) => ({ name, tone, mark: "band" })),
    ];
    const now = JSON.stringify([title, keys]);
    if (now === this.captioned) return;
    this.captioned = now;
    this.frame.caption(title, keys.length > 1 ? keys : []);
  }

  /** Columns of numbers with their positions: the lines, and both ends of each band. */
  columns() {
    return [
      ...this.lines,
      ...this.bands
        .filter(({ isPlain }) => !isPlain)
        .flatMap(({ name, x, low, high }) => [
          { name: `${name}, low`, x, values: low },
          { name: `${name}, high`, x, values: high },
        ]),
    ];
  }

  rows() {
    const columns = this.columns().map(({ x, values }) => new Map(x.map((at, i) => [at, values[i]])));
    const positions = [...new Set(this.columns().flatMap(({ x }) => x))].sort((a, b) => a - b);
    const show = (value) => (value === undefined || value === null ? "" : this.showY(value));
    return positions.map((at) => [this.showX(at), ...columns.map((column) => show(column.get(at)))]);
  }

  measure() {
    const { least, largest, xRange, height = 240, unit } = this.options;
    const columns = this.columns();
    const range = columns.reduce(
      (found, { values }) => extent(values, ...(found ?? [least, largest])) ?? found,
      undefined,
    );
    const high = height - MARGIN.bottom;
    const ticks = Math.max(2, Math.floor((high - MARGIN.top) / 45));
    const [bottom, above] = range ?? [least ?? 0, largest ?? 1];
    const factor = unit ? unit ** Math.max(0, Math.floor(Math.log(above || 1) / Math.log(unit))) : 1;
    const [low, top] = niceRange(bottom / factor, above / factor, ticks).map((end) => end * factor);
    const [first, last] = xRange ??
      columns.reduce((found, { x }) => extent(x, ...(found ?? [])) ?? found, undefined) ?? [0, 1];
    const apart = first === last ? 0.5 : 0;
    this.height = height;
    this.yTicks = niceTicks(low / factor, top / factor, ticks).map((at) => ({
      at: at * factor,
      text: this.showY(at * factor),
    }));
    const longest = Math.max(...this.yTicks.map(({ text }) => text.length));
    this.left = Math.max(MARGIN.left - 16, Math.min(90, 12 + longest * 7));
    this.toX = scale(first - apart, last + apart, this.left, this.width - MARGIN.right);
    this.toY = scale(low, top, high, MARGIN.top);
    this.span = [first, last];
  }

  draw() {
    this.measure();
    this.found = undefined;
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.drawing.setAttribute("width", this.width);
    this.drawing.setAttribute("height", this.height);
    this.drawing.setAttribute("aria-label", this.describe());
    const inside = {
      x: this.left,
      y: 0,
      width: Math.max(0, this.width - MARGIN.right - this.left + 3),
      height: this.height,
    };
    this.mark = svg("g", { class: "chart-cursor" });
    replace(
      this.drawing,
      svg("clipPath", { id: this.clip }, svg("rect", inside)),
      ...this.axes(),
      svg(
        "g",
        { "clip-path": `url(#${this.clip})` },
        ...this.bands.map((band) => this.drawBand(band)),
        ...this.divide(),
        ...this.lines.flatMap((line) => this.drawLine(line)),
      ),
      this.mark,
    );
    this.point(false);
  }

  axes() {
    const right = this.width - MARGIN.right;
    const bottom = this.height - MARGIN.bottom;
    const across = this.yTicks.map(({ at, text }) => [
      svg("line", { class: "chart-grid", x1: this.left, x2: right, y1: this.toY(at), y2: this.toY(at) }),
      svg("text", { class: "chart-tick", x: this.left - 6, y: this.toY(at) + 4, "text-anchor": "end" }, text),
    ]);
    const up = this.findXTicks().map(({ at, text }, i, all) => {
      const anchor = i === all.length - 1 && this.toX(at) > right - text.length * 3.5 ? "end" : "middle";
      return [
        svg("line", { class: "chart-grid short", x1: this.toX(at), x2: this.toX(at), y1: bottom, y2: bottom + 4 }),
        svg("text", { class: "chart-tick", x: this.toX(at), y: bottom + 18, "text-anchor": anchor }, text),
      ];
    });
    return [...across, ...up].flat();
  }

  findXTicks() {
    if (this.options.xTicks) return this.options.xTicks;
    const [first, last] = this.span;
    const whole = (at) => !(this.options.labels || this.options.isWhole) || Number.isInteger(at);
    const sample = [first, last].map((at) => this.showX(at).length);
    const count = Math.max(1, Math.floor((this.width - this.left) / (Math.max(...sample) * 7 + 28)));
    return niceTicks(first, last, Math.min(count, 10))
      .filter(whole)
      .map((at) => ({ at, text: this.showX(at) }));
  }

  divide() {
    const at = this.options.divider;
    if (at === undefined) return [];
    const x = this.toX(at);
    return [svg("line", { class: "chart-divider", x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom })];
  }

  drawLine({ x, values, tone, dashed, marked }) {
    const points = thin(x.map(this.toX), values);
    const path = joinPoints(points.map(([at, y]) => [at, isNumber(y) ? this.toY(y) : null]));
    const dots = points.filter(
      ([at, y], i) =>
        isNumber(y) && (marked || ((points[i - 1]?.[1] ?? null) === null && (points[i + 1]?.[1] ?? null) === null)),
    );
    return [
      svg("path", { class: `chart-line tone-${tone}${dashed ? " dashed" : ""}`, d: path }),
      ...dots.map(([at, y]) => svg("circle", { class: `chart-dot tone-${tone}`, cx: at, cy: this.toY(y), r: 2.5 })),
    ];
  }

  drawBand({ x, low, high, tone }) {
    const xs = x.map(this.toX);
    const parts = splitAtGaps(xs, low, high).map((places) => {
      const over = thin(
        places.map((i) => xs[i]),
        places.map((i) => high[i]),
      );
      const under = thin(
        places.map((i) => xs[i]),
        places.map((i) => low[i]),
      ).reverse();
      return `${[...over, ...under].map(([at, y], i) => `${i ? "L" : "M"}${round(at)} ${round(this.toY(y))}`).join("")}Z`;
    });
    return svg("path", { class: `chart-band tone-${tone}`, d: parts.join("") });
  }

  describe() {
    const parts = this.lines.map(({ name, values }) => {
      const range = extent(values);
      const last = values.findLast(isNumber);
      return range
        ? `${name}: from ${this.showY(range[0])} to ${this.showY(range[1])}, last ${this.showY(last)}`
        : `${name}: no values yet`;
    });
    return `${this.options.title}. ${parts.join("; ")}. Arrow keys read the values.`;
  }

  listen() {
    const { drawing } = this;
    drawing.addEventListener("pointermove", (event) => {
      this.cursor = event.clientX - drawing.getBoundingClientRect().left;
      this.point(true);
    });
    for (const name of ["pointerleave", "blur"]) {
      drawing.addEventListener(name, () => {
        this.cursor = null;
        this.point(true);
      });
    }
    drawing.addEventListener("keydown", (event) => this.move(event));
  }

  /** The arrow keys, Home and End move the cursor from value to value. */
  move(event) {
    const positions = this.positions();
    const now = this.cursor === null ? -1 : nearest(positions, this.cursor);
    const last = positions.length - 1;
    const places = {
      ArrowRight: Math.min(last, now + 1),
      ArrowLeft: now < 0 ? last : Math.max(0, now - 1),
      Home: 0,
      End: last,
    };
    if (!(event.key in places) || last < 0) return;
    event.preventDefault();
    this.cursor = positions[places[event.key]];
    this.point(true);
  }

  /** Positions of all values in pixels, rising. They are found once for each drawing. */
  positions() {
    this.found ??= [...new Set(this.columns().flatMap(({ x, values }) => x.filter((_, i) => isNumber(values[i]))))]
      .sort((a, b) => a - b)
      .map(this.toX);
    return this.found;
  }

  /** Draw the cursor at the nearest value, and say what is there. */
  point(says) {
    const positions = this.cursor === null || !this.toX ? [] : this.positions();
    const at = positions[nearest(positions, this.cursor)];
    if (at === undefined) {
      if (this.mark) replace(this.mark);
      if (says) replace(this.frame.readout);
      return;
    }
    const found = this.columns().flatMap(({ name, x, values, tone }) => {
      const i = x.findIndex((each) => Math.abs(this.toX(each) - at) < 1e-6);
      return i < 0 || !isNumber(values[i]) ? [] : [{ name, value: values[i], tone, x: x[i] }];
    });
    replace(
      this.mark,
      svg("line", { class: "chart-rule", x1: at, x2: at, y1: MARGIN.top, y2: this.height - MARGIN.bottom }),
      ...found
        .filter(({ tone }) => tone)
        .map(({ value, tone }) =>
          svg("circle", { class: `chart-dot tone-${tone}`, cx: at, cy: this.toY(value), r: 3.5 }),
        ),
    );
    const texts = found.map(({ name, value }) => `${name} ${this.showY(value)}`);
    replace(this.frame.readout, texts.length ? `${this.showX(found[0].x)}: ${texts.join(" · ")}` : null);
  }
}

function isNumber(value) {
  return value !== null && Number.isFinite(value);
}

function nearest(positions, at) {
  let low = 0;
  let high = positions.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (positions[middle] <= at) low = middle;
    else high = middle;
  }
  return Math.abs(positions[high] - at) < Math.abs(positions[low] - at) ? high : low;
}

function joinPoints(points) {
  let path = "";
  let isDown = false;
  for (const [x, y] of points) {
    if (y !== null) path += `${isDown ? "L" : "M"}${round(x)} ${round(y)}`;
    isDown = y !== null;
  }
  return path;
}

function splitAtGaps(xs, low, high) {
  const parts = [[]];
  for (let i = 0; i < xs.length; i += 1) {
    if (low[i] === null || high[i] === null) parts.push([]);
    else parts.at(-1).push(i);
  }
  return parts.filter((part) => part.length);
}

function round(pixels) {
  return Math.round(pixels * 100) / 100;
}
