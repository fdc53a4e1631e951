// Status frames as clients know them, byte for byte (nats-surface S1..S16, H4, H5), and the headers-only form of a message (A10).
// Pure; used by pull-queue.ts and the delivery engine.

const encoder = new TextEncoder();

export const EMPTY = new Uint8Array(0);

function frame(status: string): Uint8Array {
  return encoder.encode(`NATS/1.0 ${status}\r\n\r\n`);
}

export const NO_MESSAGES = frame('404 No Messages');
export const REQUESTS_PENDING = frame('408 Requests Pending');
export const EXCEEDED_MAX_WAITING = frame('409 Exceeded MaxWaiting');
export const PUSH_BASED = frame('409 Consumer is push based');
export const CONSUMER_DELETED = frame('409 Consumer Deleted');
export const LEADERSHIP_CHANGE = frame('409 Leadership Change');
export const NO_RESPONDERS = frame('503');
export const FLOW_CONTROL = frame('100 FlowControl Request');

export function badRequest(detail: string): Uint8Array {
  return frame(`400 Bad Request - ${detail}`);
}

export function exceeded(
  limit: 'MaxRequestBatch' | 'MaxRequestExpires' | 'MaxRequestMaxBytes',
  of: string,
): Uint8Array {
  return frame(`409 Exceeded ${limit} of ${of}`);
}

/** The statuses that tell a client what is left of its request. */
export type LeftStatus =
  | '408 Request Timeout'
  | '409 Message Size Exceeds MaxBytes'
  | '409 Batch Completed'
  | '409 Leadership Change'
  | '409 Server Shutdown';

export function withLeft(status: LeftStatus, messages: number, bytes: number): Uint8Array {
  return frame(`${status}\r\nNats-Pending-Messages: ${messages}\r\nNats-Pending-Bytes: ${bytes}`);
}

/**
 * What who waits hears from a leader that hands over, and then asks again at once: some clients after the words, some after what is left,
 * some not before another frame comes. The second one says that nothing is left, so that nobody counts it twice (docs/adr/0011).
 */
export function handedOver(messages: number, bytes: number): Uint8Array[] {
  return [withLeft('409 Leadership Change', messages, bytes), withLeft('408 Request Timeout', 0, 0)];
}

export function idleHeartbeat(lastConsumerSeq: number, lastStreamSeq: number, stalledOn: string): Uint8Array {
  const stalled = stalledOn === '' ? '' : `\r\nNats-Consumer-Stalled: ${stalledOn}`;
  return frame(
    `100 Idle Heartbeat\r\nNats-Last-Consumer: ${lastConsumerSeq}\r\nNats-Last-Stream: ${lastStreamSeq}${stalled}`,
  );
}

/** Adds `Nats-Msg-Size` behind the headers that are there. */
export function headersOnly(hdr: Uint8Array, payloadLength: number): Uint8Array {
  const line = `Nats-Msg-Size: ${payloadLength}\r\n\r\n`;
  if (hdr.length === 0) return encoder.encode(`NATS/1.0\r\n${line}`);
  const added = encoder.encode(line);
  const whole = new Uint8Array(hdr.length - 2 + added.length);
  whole.set(hdr.subarray(0, hdr.length - 2));
  whole.set(added, hdr.length - 2);
  return whole;
}
