// `flotilla pub` and `flotilla sub`: the smallest useful client, on the official library, for trying a cluster by hand.
import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { type FlagSpec, helpOf, parseFlags } from './flags.ts';

const COMMON = {
  server: {
    names: ['s', 'server'],
    kind: 'string',
    value: 'url',
    help: 'where to connect (default nats://127.0.0.1:4222)',
  },
  user: { names: ['user'], kind: 'string', value: 'user', help: 'user' },
  pass: { names: ['pass'], kind: 'string', value: 'password', help: 'password' },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help' },
} as const satisfies Record<string, FlagSpec>;

const PUB_FLAGS = {
  stream: {
    names: ['stream'],
    kind: 'string',
    value: 'name',
    help: 'store in this stream, created when nothing stores the subject',
  },
  replicas: {
    names: ['replicas'],
    kind: 'integer',
    value: 'n',
    help: 'replicas of a stream that is created (default: 3, or 1 on a single node)',
  },
  count: { names: ['count'], kind: 'integer', value: 'n', help: 'how many messages (default 1)' },
  ...COMMON,
} as const satisfies Record<string, FlagSpec>;

const SUB_FLAGS = {
  stream: { names: ['stream'], kind: 'string', value: 'name', help: 'read this stream from its start' },
  count: { names: ['count'], kind: 'integer', value: 'n', help: 'end after so many messages' },
  ...COMMON,
} as const satisfies Record<string, FlagSpec>;

interface Options {
  words: string[];
  server: string;
  stream: string | undefined;
  replicas: number | undefined;
  count: number | undefined;
  user: string | undefined;
  pass: string | undefined;
}

function optionsOf(
  table: Partial<Record<keyof typeof PUB_FLAGS, FlagSpec>>,
  args: readonly string[],
  usage: string,
  words: number,
): Options | number {
  const parsed = parseFlags(table as Record<keyof typeof PUB_FLAGS, FlagSpec>, args);
  if (!parsed.ok) return fail(parsed.error);
  const { values, rest } = parsed;
  if (values.help) {
    process.stdout.write(`usage: ${usage}\n\n${helpOf(table)}\n`);
    return 0;
  }
  if (rest.length !== words) return fail(`usage: ${usage}`);
  if (values.count !== undefined && (values.count as number) < 1) return fail('--count must be 1 or more');
  return {
    words: rest,
    server: (values.server as string | undefined) ?? 'nats://127.0.0.1:4222',
    stream: values.stream as string | undefined,
    replicas: values.replicas as number | undefined,
    count: values.count as number | undefined,
    user: values.user as string | undefined,
    pass: values.pass as string | undefined,
  };
}

async function open(options: Options): Promise<NatsConnection> {
  const nc = await connect({ servers: options.server, user: options.user, pass: options.pass, timeout: 5000 });
  void tellRefusals(nc);
  return nc;
}

/** What the server refuses without an answer of its own, a subject that is none for example; ends with the connection. */
async function tellRefusals(nc: NatsConnection): Promise<void> {
  for await (const status of nc.status()) {
    if (status.type === 'error') process.stderr.write(`flotilla: ${status.error.message}\n`);
  }
}

export async function pub(args: readonly string[]): Promise<number> {
  const options = optionsOf(PUB_FLAGS, args, 'flotilla pub <subject> <text> [flags]', 2);
  if (typeof options === 'number') return options;
  const [subject, text] = options.words;
  return await withConnection(options, async (nc) => {
    const count = options.count ?? 1;
    if (options.stream === undefined) {
      for (let i = 0; i < count; i++) nc.publish(subject, text);
      await nc.flush();
      process.stdout.write(`published ${count} to ${subject}\n`);
      return 0;
    }
    const replicas = options.replicas ?? (nc.info?.cluster ? 3 : 1);
    const jsm = await jetstreamManager(nc);
    if (!(await isStored(jsm, subject))) {
      if (await exists(jsm, options.stream))
        return fail(`stream ${options.stream} exists and does not store ${subject}`);
      const covering = `${subject.split('.')[0]}.>`;
      await jsm.streams.add({
        name: options.stream,
        subjects: [subject.includes('.') ? covering : subject],
        num_replicas: replicas,
      });
      process.stdout.write(`created stream ${options.stream}, ${replicas} replica${replicas === 1 ? '' : 's'}\n`);
    }
    const js = jetstream(nc);
    for (let i = 0; i < count; i++) {
      const ack = await js.publish(subject, text);
      process.stdout.write(`stored in ${ack.stream} as seq ${ack.seq}\n`);
    }
    return 0;
  });
}

/** Is there a stream that takes the subject? */
async function isStored(jsm: JetStreamManager, subject: string): Promise<boolean> {
  for await (const _ of jsm.streams.names(subject)) return true;
  return false;
}

async function exists(jsm: JetStreamManager, stream: string): Promise<boolean> {
  for await (const name of jsm.streams.names()) if (name === stream) return true;
  return false;
}

export async function sub(args: readonly string[]): Promise<number> {
  const options = optionsOf(SUB_FLAGS, args, 'flotilla sub <subject> [flags]', 1);
  if (typeof options === 'number') return options;
  const [subject] = options.words;
  return await withConnection(options, async (nc) => {
    let left = options.count ?? Number.POSITIVE_INFINITY;
    process.on('SIGINT', () => void nc.close());
    if (options.stream === undefined) {
      for await (const message of nc.subscribe(subject)) {
        process.stdout.write(`[${message.subject}] ${message.string()}\n`);
        if (--left === 0) break;
      }
      return 0;
    }
    const consumer = await jetstream(nc).consumers.get(options.stream, { filter_subjects: subject });
    for await (const message of await consumer.consume()) {
      process.stdout.write(`#${message.seq} [${message.subject}] ${message.string()}\n`);
      if (--left === 0) break;
    }
    return 0;
  });
}

async function withConnection(options: Options, work: (nc: NatsConnection) => Promise<number>): Promise<number> {
  let nc: NatsConnection | undefined;
  try {
    nc = await open(options);
    return await work(nc);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return fail(`${options.server}: ${error.message}`);
  } finally {
    await nc?.close();
  }
}

function fail(text: string): number {
  process.stderr.write(`flotilla: ${text}\n`);
  return 1;
}
