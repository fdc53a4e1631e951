// Second half of recovery: from the inventory to groups. States are merged first (they hold the epochs), then every row of every table and
// scan is applied in file order; then each group is judged: where its log ends, what is damaged, whether it may vote.
// Invariant: recovery run again over the same files, at any point of an interrupted run, finds the same.
import type { Env } from '../../src/kit/env.ts';
import { NumberMap } from '../../src/kit/number-map.ts';
import { decodeMembership } from '../core/membership.ts';
import { EntryKind, type GroupId, type Index, type Membership, type Term } from '../core/types.ts';
import { type BatchSummary, decodeGroupState, type GroupState, mergeGroupStates, type SnapshotRef } from './bodies.ts';
import type { Tombstone } from './context.ts';
import { GroupLog } from './group-log.ts';
import type { Inventory, SegmentFile } from './inventory.ts';
import { parseSnapshotName, SNAPSHOT_DIR, segmentName } from './options.ts';
import { checkBody, createHeader, decodeHeader, HEADER_BYTES, type RecordHeader, RecordType } from './record.ts';
import { readOrZero } from './segment-scan.ts';
import type { SegmentSet } from './segments.ts';
import { createRow, type Row, SidecarReader } from './sidecar.ts';
import { scanSnapshot, snapshotPath } from './snapshots.ts';
import type { RecoveredGroup } from './types.ts';

const TWO32 = 4294967296;
/** Order of places over all segments. */
const placeOf = (segment: number, offset: number): number => segment * TWO32 + offset;

/** What is being learned about one group. */
class Finding {
  readonly log: GroupLog;
  state: GroupState | undefined;
  /** Newest state record that a table names. */
  stateRow: { segment: number; offset: number; epoch: number } | undefined;
  /** Place of the newest state record that a scan read. */
  scannedStateAt = 0;
  /** Place of the last record that tells where the log ended, and of the last state record. */
  seenAt = 0;
  stateAt = 0;
  /** A state record that was lost stood at or before this place. */
  stateLostAt = 0;
  /** The log reached `index` with `term` under `epoch`. */
  evidence: { epoch: number; index: Index; term: Term }[] = [];
  /** Current entries whose record cannot be read. */
  lost = new Set<Index>();
  memberships: { index: Index; epoch: number }[] = [];
  tombstone: Tombstone | undefined;
  private termsEnd: Index = 1;

  constructor(log: GroupLog) {
    this.log = log;
  }

  learnTerm(index: Index, term: Term): void {
    this.log.terms.set(index, term, this.termsEnd);
    this.termsEnd = Math.max(this.termsEnd, index + 1);
  }

  beginEpoch(epoch: number, from: Index, segment: number): void {
    this.log.beginEpoch(epoch, from, segment);
    this.log.truncateFrom(from);
    this.termsEnd = Math.min(this.termsEnd, Math.max(1, from));
    for (const index of this.lost) if (index >= from) this.lost.delete(index);
  }
}

export interface Recovered {
  groups: Map<GroupId, GroupLog>;
  tombstones: Map<GroupId, Tombstone>;
  answers: Map<GroupId, RecoveredGroup>;
  /** Some records are lost, so files that look unreferenced may not be. */
  unsure: boolean;
  /** A group that was not found may have been here all the same. */
  groupsUnsure: boolean;
  position: number;
}

export class Recovery {
  private readonly env: Env;
  private readonly dir: string;
  private readonly inventory: Inventory;
  private readonly segments: SegmentSet;
  private findings = new Map<GroupId, Finding>();
  private files: Map<GroupId, { name: string; index: Index; file: number }[]> | undefined;
  /** Records of unknown groups are lost up to this place. */
  private unknownUpTo = 0;

  constructor(env: Env, dir: string, inventory: Inventory, segments: SegmentSet) {
    this.env = env;
    this.dir = dir;
    this.inventory = inventory;
    this.segments = segments;
  }

  run(): Recovered {
    let known = this.firstStates();
    this.apply(known);
    // A state that only a table names may hold epochs that were not known: then everything is applied once more.
    const later = this.statesFromTables(known);
    if (later !== undefined) {
      known = later;
      this.apply(known);
    }
    return this.judge();
  }

  // ---- states -----------------------------------------------------------------------------------------------------------

  private firstStates(): Map<GroupId, GroupState> {
    const known = new Map<GroupId, GroupState>();
    const learn = (state: GroupState): void => {
      const other = known.get(state.group);
      known.set(state.group, other === undefined ? state : mergeGroupStates(other, state));
    };
    for (const state of this.inventory.state?.groups ?? []) learn(state);
    for (const { scan } of this.inventory.segments) for (const { state } of scan?.states ?? []) learn(state);
    return known;
  }

  private statesFromTables(known: ReadonlyMap<GroupId, GroupState>): Map<GroupId, GroupState> | undefined {
    const merged = new Map(known);
    let changed = false;
    for (const [group, finding] of this.findings) {
      const { stateRow } = finding;
      if (stateRow === undefined || stateRow.epoch <= (finding.tombstone?.epoch ?? 0)) continue;
      // A later segment may be sealed while an earlier one still has to be scanned.
      if (placeOf(stateRow.segment, stateRow.offset) < finding.scannedStateAt) continue;
      const body = this.readBody(
        stateRow.segment,
        stateRow.offset,
        (h) => h.type === RecordType.state && h.group === group,
      );
      if (body === undefined) continue;
      const state = decodeGroupState(group, body);
      const other = merged.get(group);
      merged.set(group, other === undefined ? state : mergeGroupStates(other, state));
      changed = true;
    }
    return changed ? merged : undefined;
  }

  /** The verified body of the record at this place. */
  private readBody(segment: number, offset: number, accept: (h: RecordHeader) => boolean): Uint8Array | undefined {
    const path = `${this.dir}/${segmentName(segment)}`;
    if (this.env.disk.sizeSync(path) === undefined) return undefined;
    const h = createHeader();
    const head = readOrZero(this.env, path, offset, HEADER_BYTES);
    if (!decodeHeader(head, new DataView(head.buffer, head.byteOffset, head.length), 0, h)) return undefined;
    if (h.segment !== segment || h.offset !== offset || !accept(h)) return undefined;
    const body = readOrZero(this.env, path, offset + HEADER_BYTES, h.bodyLength);
    return body.length === h.bodyLength && checkBody(body, h.bodyCrc) ? body : undefined;
  }

  // ---- rows -------------------------------------------------------------------------------------------------------------

  private apply(known: ReadonlyMap<GroupId, GroupState>): void {
    for (const finding of this.findings.values()) finding.log.table.clear();
    this.findings = new Map();
    this.unknownUpTo = 0;
    for (const [group, state] of known) this.finding(group).state = state;
    for (const finding of this.findings.values()) {
      const { log, state } = finding;
      log.setEpochs([...(state as GroupState).epochs]);
      log.born = (state as GroupState).born;
      log.adopted = [...(state as GroupState).adopted];
      log.doubts = (state as GroupState).doubts;
    }
    for (const id of this.inventory.vanished) this.unknownUpTo = Math.max(this.unknownUpTo, placeOf(id + 1, 0) - 1);
    const row = createRow();
    for (const file of this.inventory.segments) {
      if (file.table !== undefined) {
        const reader = new SidecarReader(file.table.bytes);
        while (reader.next(row)) {
          const end = row.offset + HEADER_BYTES + row.bodyLength;
          this.applyRow(row, file, row.damaged || file.bytes === undefined || end > file.bytes);
        }
      } else this.applyScan(file);
    }
  }

  private applyScan(file: SegmentFile): void {
    const { scan } = file;
    if (scan === undefined) return;
    const places = [
      ...scan.rows.map((row) => ({ offset: row.offset, act: () => this.applyRow(row, file, row.damaged) })),
      ...scan.states.map(({ offset, state }) => ({
        offset,
        act: () => this.applyState(state, placeOf(file.id, offset)),
      })),
      ...scan.marks.map(({ offset, mark }) => ({
        offset,
        act: () => {
          for (const summary of mark.summary) this.applySummary(summary, placeOf(file.id, offset));
        },
      })),
    ];
    places.sort((a, b) => a.offset - b.offset);
    for (const { act } of places) act();
    for (const { offset, group } of scan.lostStates) {
      const finding = this.finding(group);
      finding.stateLostAt = Math.max(finding.stateLostAt, placeOf(file.id, offset));
    }
    for (const region of scan.regions) {
      if (region.harmless) continue;
      const place = placeOf(file.id, region.to);
      const vouched = region.batchAfter === region.batchBefore + 1;
      if (!vouched) this.unknownUpTo = Math.max(this.unknownUpTo, place);
      else
        this.applyLostStates(
          scan.marks.find(({ mark }) => mark.batch === region.batchAfter)?.mark.summary ?? [],
          place,
        );
    }
  }

  private applyLostStates(summary: readonly BatchSummary[], place: number): void {
    for (const { group, state } of summary) {
      const finding = this.finding(group);
      if (state) finding.stateLostAt = Math.max(finding.stateLostAt, place);
    }
  }

  private finding(group: GroupId): Finding {
    let finding = this.findings.get(group);
    if (finding === undefined) {
      finding = new Finding(new GroupLog(group, [], this.segments));
      this.findings.set(group, finding);
    }
    return finding;
  }

  private applyState(state: GroupState, place: number): void {
    const finding = this.finding(state.group);
    finding.scannedStateAt = Math.max(finding.scannedStateAt, place);
    finding.stateAt = Math.max(finding.stateAt, place);
    finding.seenAt = Math.max(finding.seenAt, place);
    const epoch = state.epochs[state.epochs.length - 1]?.epoch ?? 0;
    finding.evidence.push({ epoch, index: state.lastIndex, term: state.lastTerm });
  }

  private applySummary(summary: BatchSummary, place: number): void {
    const finding = this.finding(summary.group);
    finding.seenAt = Math.max(finding.seenAt, place);
    finding.evidence.push({ epoch: summary.epoch, index: summary.lastIndex, term: summary.lastTerm });
  }

  private applyRow(row: Row, file: SegmentFile, lost: boolean): void {
    const finding = this.finding(row.group);
    const { log } = finding;
    const place = placeOf(file.id, row.offset);
    log.nextEpoch = Math.max(log.nextEpoch, row.epoch + 1);
    if (row.other === RecordType.tombstone) {
      if ((finding.tombstone?.epoch ?? 0) <= row.epoch) {
        finding.tombstone = { epoch: row.epoch, segment: row.index, repeatedIn: file.id };
      }
      return;
    }
    if (row.other !== 0) {
      if (file.table !== undefined) {
        finding.stateRow = { segment: file.id, offset: row.offset, epoch: row.epoch };
        finding.stateAt = Math.max(finding.stateAt, place);
      }
      return;
    }
    if (!row.staged && row.epoch > log.epoch) finding.beginEpoch(row.epoch, row.epochFrom, file.id);
    if (!log.isCurrent(row.epoch, row.index, row.staged)) return;
    if (!row.staged) {
      if (!row.moved) finding.seenAt = Math.max(finding.seenAt, place);
      log.last = Math.max(log.last, row.index);
      finding.learnTerm(row.index, row.term);
    }
    if (row.kind === EntryKind.membership && !row.staged)
      finding.memberships.push({ index: row.index, epoch: row.epoch });
    if (lost) finding.lost.add(row.index);
    else log.table.set(row.index, file.id, row.offset, row.bodyLength);
  }

  // ---- judgement --------------------------------------------------------------------------------------------------------

  private judge(): Recovered {
    const groups = new NumberMap<GroupLog>();
    const tombstones = new Map<GroupId, Tombstone>();
    const answers = new Map<GroupId, RecoveredGroup>();
    const { state, stateSure } = this.inventory;
    const listed = stateSure && state !== undefined ? new Set(state.groups.map(({ group }) => group)) : undefined;
    for (const [group, finding] of this.findings) {
      const { log, tombstone } = finding;
      if (tombstone !== undefined && tombstone.epoch >= log.epoch) {
        log.table.clear();
        tombstones.set(group, tombstone);
        continue;
      }
      if (finding.state === undefined && log.last === 0 && log.table.count === 0) continue;
      // Creation and deletion are in the state file before they are answered: what it surely does not know was deleted, or never promised.
      if (listed !== undefined && !listed.has(group)) {
        log.table.clear();
        const next = this.inventory.highestId + 1;
        tombstones.set(group, { epoch: log.nextEpoch, segment: next, repeatedIn: next });
        continue;
      }
      groups.set(group, log);
      answers.set(group, this.judgeGroup(finding));
    }
    return {
      groups,
      tombstones,
      answers,
      unsure: this.unknownUpTo > 0,
      groupsUnsure: this.inventory.groupsUnsure || (!stateSure && this.unknownUpTo > 0),
      position: this.position(),
    };
  }

  private judgeGroup(finding: Finding): RecoveredGroup {
    const { log, state } = finding;
    log.snapshot = state?.snapshot;
    log.membership = state?.membership ?? log.membership;
    log.hardState = { ...(state?.hardState ?? log.hardState) };
    let lastKnown = finding.seenAt >= this.unknownUpTo;
    for (const { epoch, index, term } of finding.evidence) {
      const overruled = log.epochs.some((start) => start.epoch > epoch && start.from <= index);
      if (overruled || index <= log.last) continue;
      log.last = index;
      finding.learnTerm(index, term);
    }
    const snapshot = this.snapshotOf(finding);
    log.snapshot = snapshot;
    log.membership = snapshot?.membership ?? log.membership;
    if (snapshot !== undefined && log.last <= snapshot.index) {
      log.last = snapshot.index;
      log.terms.clear();
    }
    log.terms.dropTo(log.first - 1);
    const lastTerm = log.last === 0 ? 0 : (log.termOf(log.last) ?? 0);
    if (log.last > 0 && lastTerm === 0) lastKnown = false;
    log.durable = log.last;
    log.batchLast = log.last;
    log.damaged = this.damagedOf(finding);
    const hardKnown = this.inventory.stateSure || finding.stateAt > Math.max(this.unknownUpTo, finding.stateLostAt);
    if (lastTerm > log.hardState.term) log.hardState = { term: lastTerm, vote: 0 };
    const ascending = log.terms.ascend();
    const certain = lastKnown && hardKnown && ascending && state !== undefined && this.inventory.endSure;
    // A doubt outlives the damage that it comes from: it stands in the state until the host clears it.
    if (!certain && log.doubts % 2 === 0) log.doubts++;
    const voteSafe = log.doubts % 2 === 0;
    if (!voteSafe || log.damaged.length > 0) {
      const { group, damaged } = {
        group: log.id,
        damaged: log.damaged.map(({ first, last }) => `${first}-${last}`).join(' '),
      };
      const facts = { group, voteSafe, lastKnown, hardKnown, ascending, damaged };
      this.env.log.error('wal: a group came back with doubts', facts);
    }
    return {
      group: log.id,
      hardState: { ...log.hardState },
      snapshot: snapshot && { index: snapshot.index, term: snapshot.term, membership: snapshot.membership },
      firstIndex: log.first,
      lastIndex: log.last,
      lastTerm,
      ...this.membershipOf(finding),
      voteSafe,
      damaged: log.damaged.map((range) => ({ ...range })),
    };
  }

  /** The snapshot that the state names. If its file is gone, or the log after it has holes, the state may be older than a switch that was lost:
   * then a newer whole file within the log's bounds takes its place. */
  private snapshotOf(finding: Finding): SnapshotRef | undefined {
    const { log } = finding;
    const named = log.snapshot;
    const there = named !== undefined && this.env.disk.sizeSync(snapshotPath(this.dir, log.id, named)) === named.bytes;
    const whole = this.damagedOf(finding).every((range) => range.last < log.first);
    if (whole && (there || named === undefined)) return named;
    const newer = (this.snapshotFiles().get(log.id) ?? [])
      .filter(({ index }) => index >= log.first - 1 && index <= log.last)
      .sort((a, b) => b.index - a.index || b.file - a.file);
    for (const { name } of newer) {
      const path = `${this.dir}/${SNAPSHOT_DIR}/${name}`;
      const content = scanSnapshot(
        this.env.disk.sizeSync(path) ?? 0,
        (position, length) => readOrZero(this.env, path, position, length),
        () => {},
      );
      const fits =
        content?.group === log.id && (log.termOf(content.ref.index) ?? content.ref.term) === content.ref.term;
      if (!fits || content === undefined) continue;
      if (named === undefined || content.ref.index > named.index) {
        this.env.log.warn('wal: a snapshot newer than the state says is used', {
          group: log.id,
          index: content.ref.index,
        });
        return content.ref;
      }
    }
    return named;
  }

  private snapshotFiles(): Map<GroupId, { name: string; index: Index; file: number }[]> {
    if (this.files !== undefined) return this.files;
    this.files = new Map();
    for (const name of this.env.disk.listSync(`${this.dir}/${SNAPSHOT_DIR}`)) {
      const parsed = parseSnapshotName(name);
      if (parsed === undefined) continue;
      const known = this.files.get(parsed.group) ?? [];
      known.push({ name, index: parsed.index, file: parsed.file });
      this.files.set(parsed.group, known);
    }
    return this.files;
  }

  private damagedOf(finding: Finding): { first: Index; last: Index }[] {
    const { log, lost } = finding;
    const ranges: { first: Index; last: Index }[] = [];
    const add = (first: Index, last: Index): void => {
      const before = ranges[ranges.length - 1];
      if (before !== undefined && before.last + 1 === first) before.last = last;
      else ranges.push({ first, last });
    };
    for (const index of [...lost].sort((a, b) => a - b))
      if (index < log.first && !log.table.find(index)) add(index, index);
    let at = log.first;
    while (at <= log.last) {
      if (log.table.find(at)) {
        at++;
        continue;
      }
      const next = log.table.next(at);
      const end = next === 0 || next > log.last ? log.last : next - 1;
      add(at, end);
      at = end + 1;
    }
    return ranges;
  }

  /** The newest membership entry after the snapshot that can be read, and the one before it; or what the snapshot (or the creation) says. */
  private membershipOf(
    finding: Finding,
  ): Pick<RecoveredGroup, 'membership' | 'membershipIndex' | 'previousMembership'> {
    const { log } = finding;
    const base = log.snapshot?.membership ?? log.membership;
    const indexes = finding.memberships
      .filter(({ index, epoch }) => index >= log.first && index <= log.last && log.isCurrent(epoch, index))
      .map(({ index }) => index);
    const newest: { index: Index; membership: Membership }[] = [];
    for (const index of [...new Set(indexes)].sort((a, b) => b - a)) {
      const membership = this.readMembership(log, index);
      if (membership === undefined)
        this.env.log.error('wal: a membership entry cannot be read', { group: log.id, index });
      else newest.push({ index, membership });
      if (newest.length === 2) break;
    }
    if (newest.length === 0) return { membership: base };
    const [{ index, membership }, before] = newest;
    return { membership, membershipIndex: index, previousMembership: before?.membership ?? base };
  }

  private readMembership(log: GroupLog, index: Index): Membership | undefined {
    if (!log.table.find(index)) return undefined;
    const { segment, offset } = log.table;
    const body = this.readBody(
      segment,
      offset,
      (h) => h.group === log.id && h.index === index && h.entryKind === EntryKind.membership,
    );
    return body === undefined ? undefined : decodeMembership(body);
  }

  private position(): number {
    let position = this.inventory.state?.position ?? 0;
    for (const { scan, table } of this.inventory.segments)
      position = Math.max(position, scan?.position ?? table?.info.base ?? 0);
    return position;
  }
}
