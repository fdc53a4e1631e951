// Which partition of a stream a record belongs to (pure): a hash of its subject, so that order per subject is kept
// (DESIGN §7). Used by the publish router on every node and by nobody else, so all nodes agree.

/** FNV-1a 32 over the UTF-16 units of the subject. Every subject goes to the same partition for the life of its stream. */
export function partitionOfSubject(subject: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < subject.length; i++) hash = Math.imul(hash ^ subject.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % partitions;
}
