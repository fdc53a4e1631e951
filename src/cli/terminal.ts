// What commands write for people: lines on stdout, what went wrong on stderr.

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Returns the exit code that it is given, for the caller to end with. */
export function fail(text: string, exitCode: number): number {
  process.stderr.write(`flotilla: ${text}\n`);
  return exitCode;
}
