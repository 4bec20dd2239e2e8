/** Numbers as people read them. */

const SIGNS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 0.9977 becomes "99.8 %". A share that is not quite one never shows as 100 %. */
export function percent(share) {
  if (share > 0.9995 && share < 1) return "99.9+ %";
  return `${(share * 100).toFixed(share >= 0.0995 ? 1 : 2).replace(/\.0+$/, "")} %`;
}

/** Three digits: 0.0134, 12.1, 1,230. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Math.abs(value) >= 1000 ? WHOLE.format(value) : SIGNS.format(value);
}

/** A duration with its unit: 0.43 ms, 12 ms, 1.2 s. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${number(seconds * 1000)} ms`;
  return `${number(seconds)} s`;
}

/** The sizes of a tensor: [any, 3]. */
export function showShape(shape) {
  return `[${shape.map((size) => (size < 0 ? "any" : size)).join(", ")}]`;
}

/** 3 rows, 1 row. */
export function plural(count, one, many = `${one}s`) {
  return `${WHOLE.format(count)} ${count === 1 ? one : many}`;
}
