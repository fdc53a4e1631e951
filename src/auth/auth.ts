// Who may connect, and as whom. Called by protocol sessions with what the client said of itself; pure.
// Every secret is compared in constant time, and an unknown user costs as much as a wrong password.
import { equalSecrets } from './constant-time.ts';

export const GLOBAL_ACCOUNT = '$G';
export const SYSTEM_ACCOUNT = '$SYS';

export interface User {
  user: string;
  password: string;
  /** Default `$G`. */
  account?: string;
}

export interface AuthConfig {
  users?: readonly User[];
  token?: string;
  /** Who clients are that bring no credentials: the name of one of `users`. */
  noAuthUser?: string;
}

export interface Credentials {
  user: string;
  pass: string;
  token: string;
}

export interface Identity {
  /** '' for clients without a name of their own. */
  user: string;
  account: string;
}

export interface Authenticator {
  /** Clients must bring credentials (INFO auth_required). */
  readonly required: boolean;
  /** Undefined: refused. */
  authenticate(credentials: Credentials): Identity | undefined;
}

const ANYBODY: Identity = { user: '', account: GLOBAL_ACCOUNT };

/** Nobody is told apart: no token, no users. */
export function isOpen({ users, token }: AuthConfig): boolean {
  return token === undefined && (users ?? []).length === 0;
}

/** Would a client that was admitted as `identity` under `before` be admitted so under `after`? Its secret is not kept: it stands as long as
 * what it was compared with stands. */
export function staysAdmitted(before: AuthConfig, after: AuthConfig, identity: Identity): boolean {
  if (identity.user === '') {
    return before.token === undefined ? !createAuth(after).required : before.token === after.token;
  }
  const entry = (config: AuthConfig): User | undefined => config.users?.find(({ user }) => user === identity.user);
  const [old, now] = [entry(before), entry(after)];
  return now !== undefined && now.password === old?.password && (now.account ?? GLOBAL_ACCOUNT) === identity.account;
}

/** Throws on a configuration that contradicts itself. */
export function createAuth(config: AuthConfig = {}): Authenticator {
  const users = new Map((config.users ?? []).map((user) => [user.user, user]));
  const token = config.token;
  const ordinary = [...users.values()].filter(({ account }) => account !== SYSTEM_ACCOUNT);
  if (token !== undefined && ordinary.length > 0) throw new Error('a token and users exclude each other');
  const fallback = config.noAuthUser === undefined ? undefined : users.get(config.noAuthUser);
  if (config.noAuthUser !== undefined && fallback === undefined) {
    throw new Error(`no_auth_user: there is no user ${JSON.stringify(config.noAuthUser)}`);
  }
  const identityOf = (user: User): Identity => ({ user: user.user, account: user.account ?? GLOBAL_ACCOUNT });

  const byName = ({ user: name, pass }: Credentials): Identity | undefined => {
    const user = users.get(name);
    const right = equalSecrets(pass, user?.password ?? '');
    return user !== undefined && right ? identityOf(user) : undefined;
  };

  if (token !== undefined) {
    return {
      required: true,
      // As nats-server does: a token given as a password counts too.
      authenticate: (c) => (equalSecrets(c.token !== '' ? c.token : c.pass, token) ? ANYBODY : byName(c)),
    };
  }
  if (users.size === 0) return { required: false, authenticate: () => ANYBODY };
  // Users of the system account alone leave the door open for everybody else.
  const nameless = fallback === undefined ? (ordinary.length === 0 ? ANYBODY : undefined) : identityOf(fallback);
  return {
    required: nameless === undefined,
    authenticate: (c) => {
      const isNameless = c.user === '' && c.pass === '' && c.token === '';
      return isNameless && nameless !== undefined ? nameless : byName(c);
    },
  };
}
