/**
 * What the metrics have said over the last minutes, as increases between two readings.
 *
 * - A counter that fell was reset: the server began anew, and its whole value is the increase.
 * - A counter that was not there in the reading before began at 0. In the first reading of all it has no increase.
 * - The buckets of a histogram are reset together.
 */

import { quantileOf, readMetrics } from "../metrics.js";

const HISTOGRAMS = ["sluice_request_seconds", "sluice_queue_seconds", "sluice_compute_seconds", "sluice_batch_rows"];
const COUNTERS = ["sluice_requests_total", "sluice_rejected_total"];
const GAUGES = [
  ...["sluice_queue_rows", "sluice_model_ready", "sluice_model_weight_bytes", "sluice_streams"],
  ...["sluice_workers", "sluice_worker_memory_bytes", "sluice_device_memory_bytes"],
];
/** So many resets among the last readings mean that several servers answer. */
const OFTEN = 4;
const LATELY_S = 60;

/**
 * @typedef {object} Interval the time between two readings
 * @property {number} from seconds
 * @property {number} to seconds
 * @property {boolean} reset whether a counter fell
 * @property {boolean} isGap whether the server was away in between
 * @property {Map<string, Entry[]>} increases by the name of a counter or histogram
 * @property {Map<string, Entry[]>} levels gauges at `to`, by their name
 */

/**
 * @typedef {object} Entry
 * @property {Record<string, string>} labels
 * @property {number[]} values one of a counter or gauge; of a histogram its buckets, then the sum
 */

export class History {
  /** @param {number} longest_s how far it goes back */
  constructor(longest_s) {
    this.longest_s = longest_s;
    /** @type {Interval[]} */
    this.intervals = [];
    /** @type {Map<string, number[]>} the bounds of each histogram */
    this.bounds = new Map();
    this.before = undefined;
    this.wasAway = false;
  }

  /** The server did not answer: the next interval is a gap. */
  miss() {
    this.wasAway = true;
  }

  /**
   * @param {number} at seconds, later than before
   * @param {string} text the metrics
   * @throws {Error} if the text has none of a server
   */
  add(at, text) {
    const metrics = readMetrics(text);
    if (!metrics.has("sluice_workers"))
      throw new Error("/metrics: expected the metrics of this server, got something else");
    const now = { at, series: this.collect(metrics) };
    const levels = new Map(GAUGES.map((name) => [name, entriesOf(metrics, name)]));
    const from = this.before?.at ?? at;
    const { increases, reset } = subtract(now.series, this.before?.series);
    this.before = now;
    this.intervals.push({ from, to: at, reset, isGap: this.wasAway, increases, levels });
    this.wasAway = false;
    const oldest = at - this.longest_s;
    while (this.intervals.length && this.intervals[0].to < oldest) this.intervals.shift();
  }

  collect(metrics) {
    const series = new Map();
    for (const name of COUNTERS) series.set(name, byLabels(entriesOf(metrics, name)));
    for (const name of HISTOGRAMS) {
      const { bounds, entries } = readHistogram(metrics, name);
      if (entries.length) this.bounds.set(name, bounds);
      series.set(name, byLabels(entries));
    }
    return series;
  }

  /** The intervals that end within the last seconds before `to`. */
  last(seconds, to = this.intervals.at(-1)?.to ?? 0) {
    const begin = to - seconds + 1e-6;
    let low = this.intervals.length;
    while (low > 0 && this.intervals[low - 1].to > begin) low -= 1;
    return this.intervals.slice(low).filter((interval) => interval.to <= to);
  }

  /** Whether the numbers go back and forth, as they do where several servers answer at one address. */
  get isMixed() {
    return this.last(LATELY_S).filter(({ reset }) => reset).length >= OFTEN;
  }
}

/** @returns {Entry[]} */
function entriesOf(metrics, name) {
  return (metrics.get(name) ?? []).map(({ labels, value }) => ({ labels, values: [value] }));
}

function byLabels(entries) {
  return new Map(entries.map((entry) => [JSON.stringify(Object.entries(entry.labels).sort()), entry]));
}

/** The counts of each bucket alone, from those up to each bound. */
function readHistogram(metrics, name) {
  const found = new Map();
  const bounds = new Set();
  for (const {
    labels: { le, ...labels },
    value,
  } of metrics.get(`${name}_bucket`) ?? []) {
    const bound = le === "+Inf" ? Infinity : Number(le);
    const key = JSON.stringify(Object.entries(labels).sort());
    if (!found.has(key)) found.set(key, { labels, upTo: new Map() });
    found.get(key).upTo.set(bound, value);
    bounds.add(bound);
  }
  const rising = [...bounds].sort((a, b) => a - b);
  const sums = byLabels(entriesOf(metrics, `${name}_sum`));
  const entries = [...found].map(([key, { labels, upTo }]) => {
    const counts = rising.map((bound, i) => (upTo.get(bound) ?? 0) - (i ? (upTo.get(rising[i - 1]) ?? 0) : 0));
    return { labels, values: [...counts, sums.get(key)?.values[0] ?? 0] };
  });
  return { bounds: rising, entries };
}

/**
 * A quantile of a histogram.
 * @param {number[]} bounds of its buckets, the last one infinite
 * @param {number[]} values the counts of the buckets, then the sum
 * @param {number} share 0 to 1
 * @returns {number|null} null without values
 */
export function findQuantile(bounds, values, share) {
  let below = 0;
  return quantileOf(new Map(bounds.map((bound, i) => [bound, (below += values[i] ?? 0)])), share);
}

function subtract(now, before) {
  const increases = new Map();
  let reset = false;
  for (const [name, series] of now) {
    const found = [];
    for (const [key, { labels, values }] of series) {
      const earlier = before?.get(name)?.get(key)?.values;
      const fell = earlier !== undefined && values.some((value, i) => value < earlier[i] - 1e-9);
      reset ||= fell;
      if (before === undefined) continue;
      const increase = earlier === undefined || fell ? values : values.map((value, i) => value - earlier[i]);
      if (increase.some((value) => value !== 0)) found.push({ labels, values: increase });
    }
    increases.set(name, found);
  }
  return { increases, reset };
}

/**
 * The sum of the increases of a name over intervals, of the labels that fit.
 * @param {Interval[]} intervals
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} fits
 * @returns {number[]} empty if there are none
 */
export function sumIncreases(intervals, name, fits) {
  let sums = [];
  for (const { increases } of intervals) {
    for (const { labels, values } of increases.get(name) ?? []) {
      if (!fits(labels)) continue;
      sums = sums.length ? sums.map((sum, i) => sum + values[i]) : [...values];
    }
  }
  return sums;
}

/** The sum of a gauge at the end of an interval, of the labels that fit; null without any. */
export function sumLevels(interval, name, fits) {
  const found = (interval?.levels.get(name) ?? []).filter(({ labels }) => fits(labels));
  return found.length ? found.reduce((sum, { values }) => sum + values[0], 0) : null;
}

/** How many seconds the intervals last together. */
export function duration(intervals) {
  return intervals.reduce((sum, { from, to }) => sum + (to - from), 0);
}
