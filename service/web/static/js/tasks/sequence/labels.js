/** Continues the labels of a series into its forecast: years, months, days, hours. */

const DATE = /^(\d{4})-(\d{1,2})(?:-(\d{1,2}))?$/;
const MOMENT = /^\d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d{2}(:\d{2})?/;
const DAY_MS = 86_400_000;

/**
 * @param {string[]|null} labels
 * @param {number} count how many more
 * @returns {string[]} "+1", "+2", … where no rule fits
 */
export function continueLabels(labels, count) {
  const next =
    (labels && labels.length > 1 && (ofNumbers(labels) ?? ofMonths(labels) ?? ofDays(labels) ?? ofMoments(labels))) ||
    null;
  return Array.from({ length: count }, (_, i) => (next ? next(i + 1) : `+${i + 1}`));
}

function ofNumbers(labels) {
  if (!labels.every((label) => /^-?\d+$/.test(label))) return null;
  const values = labels.map(Number);
  const step = values[1] - values[0];
  return isEven(values, step) ? (i) => String(values.at(-1) + i * step) : null;
}

/** Labels of the same day of each month, of its last day, or of months alone. */
function ofMonths(labels) {
  const parts = labels.map((label) => DATE.exec(label));
  if (parts.includes(null)) return null;
  const months = parts.map(([, year, month]) => Number(year) * 12 + Number(month) - 1);
  const areLast = parts.every(([, , , day], i) => Number(day) === lastDay(months[i]));
  const areSame = parts.every(([, , , day]) => day === parts[0][3]);
  const step = months[1] - months[0];
  if (!(areLast || areSame) || !isEven(months, step)) return null;
  return (i) => {
    const month = months.at(-1) + i * step;
    const day = areLast ? lastDay(month) : parts[0][3];
    return `${Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, "0")}${day ? `-${day}` : ""}`;
  };
}

function lastDay(month) {
  return new Date(Date.UTC(Math.floor(month / 12), (month % 12) + 1, 0)).getUTCDate();
}

function ofDays(labels) {
  if (!labels.every((label) => DATE.exec(label)?.[3])) return null;
  const days = labels.map((label) => {
    const [, year, month, day] = DATE.exec(label).map(Number);
    return Date.UTC(year, month - 1, day) / DAY_MS;
  });
  const step = days[1] - days[0];
  return isEven(days, step) ? (i) => new Date((days.at(-1) + i * step) * DAY_MS).toISOString().slice(0, 10) : null;
}

function ofMoments(labels) {
  if (!labels.every((label) => MOMENT.test(label))) return null;
  const times = labels.map((label) => Date.parse(`${label.slice(0, 19).replace(" ", "T")}Z`));
  const step = times[1] - times[0];
  if (times.some(Number.isNaN) || !isEven(times, step)) return null;
  const length = labels[0].length >= 19 ? 19 : 16;
  return (i) => new Date(times.at(-1) + i * step).toISOString().slice(0, length).replace("T", labels[0][10]);
}

function isEven(values, step) {
  return step > 0 && values.every((value, i) => i === 0 || value - values[i - 1] === step);
}
