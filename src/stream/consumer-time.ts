// RFC 3339 text to and from microseconds since 1970, by arithmetic alone, so that replicas agree whatever their time zone
// data says. Pure; used for opt_start_time and advisories.

const PATTERN = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))$/;
const DAY_US = 86_400_000_000;

/** Undefined when the text is not a time. Digits beyond microseconds are cut. */
export function parseRfc3339(text: string): number | undefined {
  const match = PATTERN.exec(text);
  if (match === null) return undefined;
  const days = daysFromCivil(Number(match[1]), Number(match[2]), Number(match[3]));
  const seconds = Number(match[4]) * 3600 + Number(match[5]) * 60 + Number(match[6]);
  const fraction = Number((match[7] ?? '').padEnd(6, '0').slice(0, 6));
  const offset =
    match[9] === undefined ? 0 : (Number(match[10]) * 60 + Number(match[11])) * (match[9] === '-' ? -60 : 60);
  return days * DAY_US + (seconds - offset) * 1_000_000 + fraction;
}

/** `2024-01-02T03:04:05.000006Z`. */
export function formatRfc3339(us: number): string {
  const days = Math.floor(us / DAY_US);
  const rest = us - days * DAY_US;
  const seconds = Math.floor(rest / 1_000_000);
  const time = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(twoDigits).join(':');
  return `${civilFromDays(days)}T${time}.${String(rest % 1_000_000).padStart(6, '0')}Z`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

/** Days since 1970-01-01 in the proleptic Gregorian calendar (years run from March here, so that leap days come last). */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return era * 146097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719468;
}

function civilFromDays(days: number): string {
  const shifted = days + 719468;
  const era = Math.floor(shifted / 146097);
  const dayOfEra = shifted - era * 146097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}`;
}
