// What tests of a partition ask it, and wait for: one call each, answered in the world's time.
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import type { GetRequest, InfoRequest, StoredMessage, StreamState } from '../../../src/stream/types.ts';
import type { World } from './fake-world.ts';

export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
export const stored = (seq: number, duplicate = false) => ({ seq, duplicate });

export function get(world: World, request: GetRequest): StoredMessage | ApiError {
  return world.ask<StoredMessage | ApiError>((done) => world.partition.get(request, done));
}

export function seqOf(world: World, request: GetRequest): number {
  const message = get(world, request);
  return isApiError(message) ? -message.err_code : message.seq;
}

export function info(world: World, want: Partial<InfoRequest> = {}): StreamState {
  const state = world.ask<StreamState | ApiError>((done) =>
    world.partition.info({ deletedDetails: false, ...want }, done),
  );
  if (isApiError(state)) throw new Error(state.description);
  return state;
}

export const subjectsOf = (filter: string, offset = 0, limit = 100) => ({ subjects: { filter, offset, limit } });
