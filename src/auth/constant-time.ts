// Comparison of secrets whose duration says nothing about where they differ. Pure.

const encoder = new TextEncoder();

export function equalSecrets(given: string, expected: string): boolean {
  const a = encoder.encode(given);
  const b = encoder.encode(expected);
  let difference = a.length ^ b.length;
  // Runs over what was given: its length is the client's own knowledge.
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ (b.length === 0 ? 255 : b[i % b.length]);
  return difference === 0;
}
