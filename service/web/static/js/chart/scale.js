/** Scales and ticks of charts: pure functions. */

/**
 * Numbers that people like, from `low` to `high`: steps of 1, 2 or 5 times a power of ten.
 * @param {number} low
 * @param {number} high
 * @param {number} [count] about how many
 * @returns {number[]} rising; at least one; some may lie outside by less than a step if `round` asks for it
 */
export function niceTicks(low, high, count = 5) {
  const step = niceStep(high - low, count);
  if (!Number.isFinite(step) || step <= 0) return [low];
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const ticks = [];
  for (let i = first; i <= last && ticks.length < 100; i += 1) ticks.push(round(i * step, step));
  return ticks.length ? ticks : [low];
}

/** The step of such ticks. */
function niceStep(span, count = 5) {
  if (!(span > 0) || !Number.isFinite(span)) return 0;
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 5, 10].find((each) => each * power >= raw * (1 - 1e-9)) ?? 10;
  return factor * power;
}

function round(value, step) {
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return digits > 20 ? value : Number(value.toFixed(digits));
}

/**
 * The smallest range with nice ends that holds `low` and `high`. Equal ends are moved apart.
 * @returns {[number, number]}
 */
export function niceRange(low, high, count = 5) {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (low === high) {
    const by = Math.abs(low) * 0.1 || 1;
    return niceRange(low - (low === 0 ? 0 : by), high + by, count);
  }
  const step = niceStep(high - low, count);
  return [round(Math.floor(low / step + 1e-9) * step, step), round(Math.ceil(high / step - 1e-9) * step, step)];
}

/**
 * From values to pixels.
 * @returns {(value: number) => number}
 */
export function scale(low, high, from, to) {
  const factor = high === low ? 0 : (to - from) / (high - low);
  return (value) => from + (value - low) * factor;
}

/** The least and the largest of the numbers that are finite; undefined if there are none. */
export function extent(values, least, largest) {
  let low = least ?? Infinity;
  let high = largest ?? -Infinity;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : undefined;
}

/**
 * At most four points for each pixel: the first, the least, the largest and the last of it. It looks the same.
 * @param {number[]} xs pixels, rising
 * @param {(number|null)[]} ys null is a gap
 * @returns {[number, number|null][]}
 */
export function thin(xs, ys) {
  const points = [];
  let begin = 0;
  while (begin < xs.length) {
    const pixel = Math.floor(xs[begin]);
    let end = begin;
    while (end < xs.length && Math.floor(xs[end]) === pixel) end += 1;
    for (const at of pickOfPixel(ys, begin, end)) points.push([xs[at], ys[at]]);
    begin = end;
  }
  return points;
}

function pickOfPixel(ys, begin, end) {
  if (end - begin <= 4) return Array.from({ length: end - begin }, (_, i) => begin + i);
  const wanted = new Set([begin, end - 1]);
  let least = -1;
  let largest = -1;
  let gap = -1;
  for (let i = begin; i < end; i += 1) {
    if (ys[i] === null || !Number.isFinite(ys[i])) gap = i;
    else {
      if (least < 0 || ys[i] < ys[least]) least = i;
      if (largest < 0 || ys[i] > ys[largest]) largest = i;
    }
  }
  for (const at of [least, largest, gap]) if (at >= 0) wanted.add(at);
  return [...wanted].sort((a, b) => a - b);
}

/** A number for people: about four digits, thousands apart. */
export function showNumber(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "none";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e9 || size < 1e-4)) return value.toExponential(2);
  const options = size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
  return value.toLocaleString("en", options);
}

/** Seconds for people: 850 µs, 12 ms, 1.5 s. */
export function showSeconds(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return showNumber(seconds);
  if (seconds === 0) return "0";
  if (Math.abs(seconds) < 1e-3) return `${showNumber(Number((seconds * 1e6).toPrecision(3)))} µs`;
  if (Math.abs(seconds) < 1) return `${showNumber(Number((seconds * 1e3).toPrecision(3)))} ms`;
  return `${showNumber(Number(seconds.toPrecision(3)))} s`;
}

/** Bytes for people, in powers of 1024. */
export function showBytes(bytes) {
  if (bytes === null || !Number.isFinite(bytes)) return showNumber(bytes);
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let value = bytes;
  while (Math.abs(value) >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${showNumber(Number(value.toPrecision(3)))} ${units[at]}`;
}
