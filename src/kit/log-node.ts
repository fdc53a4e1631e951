// Logger on pino, printed as nats-server prints its lines: `[pid] 2026/01/02 15:04:05.000000 [INF] text key=value`. Used by env-node
// and the command line. Writes are asynchronous; `fatalSync` and the end of the process flush what is pending.
import { openSync, writeSync } from 'node:fs';
import { type DestinationStream, destination, type Logger as Pino, pino } from 'pino';
import type { LogFields, Logger } from './env.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface NodeLogOptions {
  level: LogLevel;
  /** `text` as nats-server (default), or pino's JSON lines. */
  format?: 'text' | 'json';
  /** Default: stderr. */
  file?: string;
  /** Default: the process's. */
  pid?: number;
}

export interface NodeLog extends Logger {
  setLevel(level: LogLevel): void;
  /** Goes on in a new file under the same name, for log rotation; false: it writes to stderr. Throws when the file can not be opened. */
  reopen(): boolean;
  /** Blocks until it is written; for the last words of a process. */
  fatalSync(reason: string): void;
  /** Blocks until everything logged so far is written. */
  flushSync(): void;
  /** Flushed, and the process's end no longer looks after it: for servers that come and go in one process. */
  close(): void;
}

const TAGS: Record<number, string> = { 20: 'DBG', 30: 'INF', 40: 'WRN', 50: 'ERR', 60: 'FTL' };
const RESERVED = new Set(['level', 'time', 'msg']);

function two(n: number): string {
  return n < 10 ? `0${n}` : String(n);
}

/** Local time, as nats-server prints it. */
export function formatLine(pid: number, wallMs: number, tag: string, message: string, fields: string): string {
  const t = new Date(wallMs);
  const day = `${t.getFullYear()}/${two(t.getMonth() + 1)}/${two(t.getDate())}`;
  const micros = String(t.getMilliseconds() * 1_000).padStart(6, '0');
  const clock = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${micros}`;
  return `[${pid}] ${day} ${clock} [${tag}] ${message}${fields}\n`;
}

/** Turns pino's record into a line. The log is off the hot path, so reading the JSON back is cheap enough. */
function textStream(pid: number, out: DestinationStream): DestinationStream {
  return {
    write(json: string) {
      const record = JSON.parse(json) as Record<string, unknown> & { level: number; time: number; msg?: string };
      let fields = '';
      for (const key of Object.keys(record)) {
        if (!RESERVED.has(key)) fields += ` ${key}=${String(record[key])}`;
      }
      // A line is a line, whatever a peer or client managed to get quoted in it.
      const message = (record.msg ?? '').replace(/[\r\n]+/g, ' ');
      out.write(formatLine(pid, record.time, TAGS[record.level] ?? 'INF', message, fields.replace(/[\r\n]+/g, ' ')));
    },
  };
}

export function createNodeLog(options: NodeLogOptions): NodeLog {
  const pid = options.pid ?? process.pid;
  const { file } = options;
  let closed = false;
  const open = () => {
    const opened = destination({ dest: file === undefined ? 2 : openSync(file, 'a'), sync: false });
    opened.on('error', () => {
      // stderr may be a closed pipe; a broker does not stop for that.
      if (opened === out) closed = true;
    });
    return opened;
  };
  let out = open();
  const flushSync = () => {
    if (closed) return;
    try {
      out.flushSync();
    } catch {
      // The other end is gone: there is nobody left to tell.
      closed = true;
    }
  };
  process.once('exit', flushSync);
  const current: DestinationStream = { write: (line) => void out.write(line) };
  const stream = options.format === 'json' ? current : textStream(pid, current);
  const log: Pino = pino({ level: options.level, base: null }, stream);
  const emit = (level: 'debug' | 'info' | 'warn' | 'error') => (message: string, fields?: LogFields) => {
    if (fields === undefined) log[level](message);
    else log[level](fields, message);
  };
  return {
    debug: emit('debug'),
    info: emit('info'),
    warn: emit('warn'),
    error: emit('error'),
    setLevel(level) {
      log.level = level;
    },
    reopen() {
      if (file === undefined) return false;
      const before = out;
      const next = open();
      flushSync();
      out = next;
      closed = false;
      before.end();
      return true;
    },
    flushSync,
    close() {
      flushSync();
      process.off('exit', flushSync);
    },
    fatalSync(reason) {
      flushSync();
      try {
        writeSync(2, formatLine(pid, Date.now(), 'FTL', reason, ''));
      } catch {
        // stderr is closed: the exit code has to say it alone.
        closed = true;
      }
    },
  };
}
