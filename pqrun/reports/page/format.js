/* How numbers, times and words are written. Times come in microseconds, as the records have them. */

const SECOND = 1e6;

/**
 * Return a duration as people write it: `400ms`, `12.6s`, `3m04s`, `2h05m`. Empty if it is unknown.
 * @param {number} micros
 */
export function duration(micros) {
  const seconds = micros / SECOND;
  if (Number.isNaN(seconds)) return "";
  if (seconds < 0.0005) return "<1ms";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)}ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1).replace(/\.0$/, "")}s`;
  const whole = Math.round(seconds);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d${two(Math.floor((whole % 86400) / 3600))}h`;
}

/**
 * Return a number of bytes as people write it: `312 M`.
 * @param {number} count
 */
export function bytes(count) {
  if (Number.isNaN(count)) return "";
  const units = ["B", "K", "M", "G", "T"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/**
 * Return a share in percent, such as `93%`.
 * @param {number} share
 */
export function percent(share) {
  return Number.isFinite(share) ? `${Math.round(100 * share)}%` : "";
}

/**
 * Return a count with its noun: `1 job`, `2 jobs`.
 * @param {number} count
 * @param {string} noun
 */
export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT_TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "2-digit", month: "short", year: "numeric" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });

/** Return the time of day. @param {number} ms milliseconds since the epoch */
export function clock(ms) {
  return TIME.format(ms);
}

/** Return the date and the time of day. @param {number} ms milliseconds since the epoch */
export function dateAndTime(ms) {
  return `${DATE.format(ms).replace(",", "")}, ${TIME.format(ms)}`;
}

/**
 * Return a time for the axis of a plot whose marks are `step` milliseconds apart.
 * @param {number} ms
 * @param {number} step
 */
export function tick(ms, step) {
  if (step >= 86_400_000) return DAY.format(ms);
  if (step >= 60_000) return SHORT_TIME.format(ms);
  const text = TIME.format(ms);
  return step >= 1000 ? text : `${text.slice(-5)}.${String(Math.round(ms % 1000)).padStart(3, "0")}`;
}

/** Return the text with a capital first letter. @param {string} text */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return a text as one word for a shell. @param {string} text */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\"'\"'")}'`;
}
