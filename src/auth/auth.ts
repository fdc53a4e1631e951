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

/** Throws on a configuration that contradicts itself. */
export function createAuth(config: AuthConfig = {}): Authenticator {
  const users = new Map((config.users ?? []).map((user) => [user.user, user]));
  const token = config.token;
  if (token !== undefined && users.size > 0) throw new Error('a token and users exclude each other');
  const fallback = config.noAuthUser === undefined ? undefined : users.get(config.noAuthUser);
  if (config.noAuthUser !== undefined && fallback === undefined) {
    throw new Error(`no_auth_user: there is no user ${JSON.stringify(config.noAuthUser)}`);
  }
  const identityOf = (user: User): Identity => ({ user: user.user, account: user.account ?? GLOBAL_ACCOUNT });

  if (token !== undefined) {
    return {
      required: true,
      // As nats-server does: a token given as a password counts too.
      authenticate: (c) => (equalSecrets(c.token !== '' ? c.token : c.pass, token) ? ANYBODY : undefined),
    };
  }
  if (users.size === 0) return { required: false, authenticate: () => ANYBODY };
  return {
    required: fallback === undefined,
    authenticate(c) {
      if (fallback !== undefined && c.user === '' && c.pass === '' && c.token === '') return identityOf(fallback);
      const user = users.get(c.user);
      const right = equalSecrets(c.pass, user?.password ?? '');
      return user !== undefined && right ? identityOf(user) : undefined;
    },
  };
}
