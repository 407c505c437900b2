// How numbers, times and shares are written: the same words as the terminal's.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const number = (count) => grouped.format(count);

export const plural = (count, noun, nouns = noun + "s") => `${number(count)} ${count === 1 ? noun : nouns}`;

// Rounds down: 100 % means all of it, never nearly all.
export function percent(share) {
  if (typeof share !== "number") return "unknown";
  if (share >= 1) return "100 %";
  return `${(Math.floor(Math.max(share, 0) * 1000) / 10).toFixed(1)} %`;
}

export function perSecond(rate) {
  if (typeof rate !== "number") return "? flows/s";
  return `${rate > 0 && rate < 9.95 ? rate.toFixed(1) : number(rate)} flows/s`;
}

export function age(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "?";
  const whole = Math.max(Math.trunc(milliseconds / 1000), 0);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.trunc(whole / 60)} min`;
  let [large, small, names] = [Math.trunc(whole / 3600), Math.trunc((whole % 3600) / 60), ["h", "min"]];
  if (large >= 48) [large, small, names] = [Math.trunc(whole / 86400), Math.trunc((whole % 86400) / 3600), ["d", "h"]];
  return small ? `${large} ${names[0]} ${small} ${names[1]}` : `${large} ${names[0]}`;
}

// The server's clock is the only one: ages are between two of its times.
export const since = (now, then) => (then ? age(Date.parse(now) - Date.parse(then)) : "never");

export const clock = (time) => (time ? time.slice(0, 19).replace("T", " ") + " UTC" : "never");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What must not be drawn as it is: control characters, and those that change the direction of a line.
export const printable = (text) =>
  String(text).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0).toString(16)}}`);
