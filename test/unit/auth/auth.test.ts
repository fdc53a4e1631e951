import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createAuth, isOpen, staysAdmitted } from '../../../src/auth/auth.ts';
import { equalSecrets } from '../../../src/auth/constant-time.ts';

const credentials = (fields: { user?: string; pass?: string; token?: string }) => ({
  user: '',
  pass: '',
  token: '',
  ...fields,
});

test('secrets are equal when they are the same text', () => {
  fc.assert(fc.property(fc.string(), fc.string(), (a, b) => equalSecrets(a, b) === (a === b)));
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (a) => equalSecrets(a, a)));
  expect(equalSecrets('abab', 'ab')).toBe(false);
  expect(equalSecrets('', 'a')).toBe(false);
  expect(equalSecrets('a', '')).toBe(false);
});

describe('who is who', () => {
  const users = [
    { user: 'a', password: 'pa' },
    { user: 'b', password: 'pb', account: 'B' },
  ];

  test('nobody configured: everybody', () => {
    const auth = createAuth();
    expect(auth.required).toBe(false);
    expect(auth.authenticate(credentials({ user: 'x', pass: 'y' }))).toEqual({ user: '', account: '$G' });
  });

  test('users', () => {
    const auth = createAuth({ users });
    expect(auth.required).toBe(true);
    expect(auth.authenticate(credentials({ user: 'a', pass: 'pa' }))).toEqual({ user: 'a', account: '$G' });
    expect(auth.authenticate(credentials({ user: 'b', pass: 'pb' }))).toEqual({ user: 'b', account: 'B' });
    for (const bad of [
      {},
      { user: 'a' },
      { user: 'a', pass: 'pb' },
      { user: 'c', pass: 'pa' },
      { user: 'c' },
      { token: 'pa' },
    ]) {
      expect(auth.authenticate(credentials(bad))).toBeUndefined();
    }
  });

  test('users of the system account alone leave the door open', () => {
    const admin = { user: 'admin', password: 's', account: '$SYS' };
    const auth = createAuth({ users: [admin] });
    expect(auth.required).toBe(false);
    expect(auth.authenticate(credentials({}))).toEqual({ user: '', account: '$G' });
    expect(auth.authenticate(credentials({ user: 'admin', pass: 's' }))).toEqual({ user: 'admin', account: '$SYS' });
    expect(auth.authenticate(credentials({ user: 'admin', pass: 'x' }))).toBeUndefined();
    expect(auth.authenticate(credentials({ user: 'admin' }))).toBeUndefined();
    expect(auth.authenticate(credentials({ user: 'x', pass: 's' }))).toBeUndefined();
    const guarded = createAuth({ users: [admin], token: 't' });
    expect(guarded.required).toBe(true);
    expect(guarded.authenticate(credentials({ token: 't' }))?.account).toBe('$G');
    expect(guarded.authenticate(credentials({ user: 'admin', pass: 's' }))?.account).toBe('$SYS');
    expect(guarded.authenticate(credentials({}))).toBeUndefined();
    expect([isOpen({}), isOpen({ users: [admin] }), isOpen({ token: 't' })]).toEqual([true, false, false]);
  });

  test('who stays when the rules change', () => {
    const a = { user: 'a', account: '$G' };
    const nameless = { user: '', account: '$G' };
    const before = { users };
    expect(staysAdmitted(before, { users }, a)).toBe(true);
    expect(staysAdmitted(before, { users: [{ user: 'a', password: 'other' }] }, a)).toBe(false);
    expect(staysAdmitted(before, { users: [{ user: 'a', password: 'pa', account: 'B' }] }, a)).toBe(false);
    expect(staysAdmitted(before, { users: [users[1]] }, a)).toBe(false);
    expect(staysAdmitted(before, {}, a)).toBe(false);
    expect(staysAdmitted({}, before, nameless)).toBe(false);
    expect(staysAdmitted({}, {}, nameless)).toBe(true);
    expect(staysAdmitted({ token: 't' }, { token: 't' }, nameless)).toBe(true);
    expect(staysAdmitted({ token: 't' }, { token: 'u' }, nameless)).toBe(false);
  });

  test('a token, also in the place of a password', () => {
    const auth = createAuth({ token: 't' });
    expect(auth.authenticate(credentials({ token: 't' }))).toEqual({ user: '', account: '$G' });
    expect(auth.authenticate(credentials({ pass: 't' }))).toBeDefined();
    expect(auth.authenticate(credentials({ token: 'x', pass: 't' }))).toBeUndefined();
    expect(auth.authenticate(credentials({}))).toBeUndefined();
  });

  test('the stand-in for clients without credentials', () => {
    const auth = createAuth({ users, noAuthUser: 'b' });
    expect(auth.required).toBe(false);
    expect(auth.authenticate(credentials({}))).toEqual({ user: 'b', account: 'B' });
    expect(auth.authenticate(credentials({ user: 'b' }))).toBeUndefined();
    expect(() => createAuth({ users, noAuthUser: 'c' })).toThrow('no_auth_user');
    expect(() => createAuth({ users, token: 't' })).toThrow('exclude');
  });
});
