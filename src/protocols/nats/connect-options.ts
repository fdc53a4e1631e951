// What a client says of itself in CONNECT (nats-surface §1.3). Pure. Unknown fields are ignored; a known field of a wrong type makes
// the whole CONNECT malformed. Verbose, pedantic and echo are on, all others off, as long as no CONNECT of the connection says otherwise.

export interface ConnectOptions {
  verbose: boolean;
  pedantic: boolean;
  echo: boolean;
  headers: boolean;
  noResponders: boolean;
  protocol: number;
  name: string;
  lang: string;
  version: string;
  user: string;
  pass: string;
  token: string;
  /** Legacy; whoever names an account is refused. */
  account: string;
  newAccount: boolean;
}

export const DEFAULT_OPTIONS: Readonly<ConnectOptions> = {
  verbose: true,
  pedantic: true,
  echo: true,
  headers: false,
  noResponders: false,
  protocol: 0,
  name: '',
  lang: '',
  version: '',
  user: '',
  pass: '',
  token: '',
  account: '',
  newAccount: false,
};

const KEYS: Readonly<Record<string, keyof ConnectOptions>> = {
  verbose: 'verbose',
  pedantic: 'pedantic',
  echo: 'echo',
  headers: 'headers',
  no_responders: 'noResponders',
  protocol: 'protocol',
  name: 'name',
  lang: 'lang',
  version: 'version',
  user: 'user',
  pass: 'pass',
  auth_token: 'token',
  account: 'account',
  new_account: 'newAccount',
};

/** What is not said stays as it is `known`. Undefined: neither a JSON object nor null, or a field has the wrong type. */
export function parseConnect(json: string, known: Readonly<ConnectOptions>): ConnectOptions | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || Array.isArray(value)) return undefined;
  const options: ConnectOptions = { ...known };
  for (const [key, given] of Object.entries(value ?? {})) {
    const field = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (field === undefined || given === null) continue;
    if (typeof given !== typeof options[field]) return undefined;
    Object.assign(options, { [field]: given });
  }
  return options;
}
