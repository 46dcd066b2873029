/** The label map that is drawn on: class numbers on the voxels of the scan, and what was changed. */

export type Triple = [number, number, number];

/** Inclusive bounds of voxels. */
export interface Box {
  low: Triple;
  high: Triple;
}

export class Volume {
  /** Voxels along x, y, z; x is the fastest in `data`. */
  readonly dims: Triple;
  /** Distance of voxels in mm. */
  readonly spacing: Triple;
  data: Uint8Array;
  /** Voxels of each class number. */
  readonly counts = new Float64Array(256);

  constructor(dims: Triple, spacing: Triple, data?: Uint8Array) {
    const size = dims[0] * dims[1] * dims[2];
    if (data && data.length !== size) throw new Error(`a label of ${data.length} voxels on a scan of ${size}`);
    this.dims = dims;
    this.spacing = spacing;
    this.data = data ?? new Uint8Array(size);
    this.count();
  }

  at(x: number, y: number, z: number): number {
    return this.data[this.index(x, y, z)] ?? 0;
  }

  index(x: number, y: number, z: number): number {
    return x + this.dims[0] * (y + this.dims[1] * z);
  }

  inside(x: number, y: number, z: number): boolean {
    const [nx, ny, nz] = this.dims;
    return x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz;
  }

  get whole(): Box {
    return { low: [0, 0, 0], high: [this.dims[0] - 1, this.dims[1] - 1, this.dims[2] - 1] };
  }

  /** Counts all voxels again, after `data` was replaced. */
  count(): void {
    const counts = new Uint32Array(256);
    const { data } = this;
    for (let i = 0; i < data.length; i++) counts[data[i] as number]! += 1;
    this.counts.set(counts);
  }

  /** Bounds of the voxels of one class, `null` where it has none. */
  boundsOf(value: number): Box | null {
    if (!this.counts[value]) return null;
    const [nx, ny, nz] = this.dims;
    const box: Box = { low: [nx, ny, nz], high: [-1, -1, -1] };
    let i = 0;
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        for (let x = 0; x < nx; x++, i++) if (this.data[i] === value) grow(box, x, y, z);
      }
    }
    return box;
  }
}

export function grow(box: Box, x: number, y: number, z: number): void {
  const { low, high } = box;
  if (x < low[0]) low[0] = x;
  if (y < low[1]) low[1] = y;
  if (z < low[2]) low[2] = z;
  if (x > high[0]) high[0] = x;
  if (y > high[1]) high[1] = y;
  if (z > high[2]) high[2] = z;
}

export function emptyBox(): Box {
  return { low: [Infinity, Infinity, Infinity], high: [-Infinity, -Infinity, -Infinity] };
}

export function isEmpty(box: Box): boolean {
  return box.high[0] < box.low[0];
}

/** Changes of one stroke or one command, as they can be undone. A voxel may be in it several times. */
export class Edit {
  private readonly volume: Volume;
  private index = new Uint32Array(256);
  private before = new Uint8Array(256);
  private after = new Uint8Array(256);
  length = 0;
  /** Everything that changed. */
  readonly box = emptyBox();
  /** What changed since it was last taken by `takeFresh`. */
  private fresh = emptyBox();

  constructor(volume: Volume) {
    this.volume = volume;
  }

  get bytes(): number {
    return this.index.byteLength + this.before.byteLength + this.after.byteLength;
  }

  set(x: number, y: number, z: number, value: number): void {
    const { volume } = this;
    const i = volume.index(x, y, z);
    const old = volume.data[i] as number;
    if (old === value) return;
    if (this.length === this.index.length) this.resize(this.length * 2);
    this.index[this.length] = i;
    this.before[this.length] = old;
    this.after[this.length] = value;
    this.length += 1;
    volume.data[i] = value;
    volume.counts[old]! -= 1;
    volume.counts[value]! += 1;
    grow(this.box, x, y, z);
    grow(this.fresh, x, y, z);
  }

  /** Bounds of what changed since the last call; `null` where nothing did. */
  takeFresh(): Box | null {
    const taken = this.fresh;
    this.fresh = emptyBox();
    return isEmpty(taken) ? null : taken;
  }

  /** Gives back the room that was kept for more changes. */
  close(): this {
    this.resize(this.length);
    return this;
  }

  undo(): void {
    for (let n = this.length - 1; n >= 0; n--) this.put(n, this.before);
  }

  redo(): void {
    for (let n = 0; n < this.length; n++) this.put(n, this.after);
  }

  private put(n: number, values: Uint8Array): void {
    const { data, counts } = this.volume;
    const i = this.index[n] as number;
    counts[data[i] as number]! -= 1;
    data[i] = values[n] as number;
    counts[data[i] as number]! += 1;
  }

  private resize(length: number): void {
    const moved = <T extends Uint32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from.subarray(0, Math.min(from.length, length)));
      return to;
    };
    this.index = moved(this.index, new Uint32Array(length));
    this.before = moved(this.before, new Uint8Array(length));
    this.after = moved(this.after, new Uint8Array(length));
  }
}

/** What was done, for undo and redo; the oldest is forgotten where it takes more than `limit` bytes. */
export class History {
  private done: Edit[] = [];
  private undone: Edit[] = [];
  /** The newest of those that were forgotten. */
  private floor: Edit | null = null;
  private readonly limit: number;

  constructor(limit = 256 * 2 ** 20) {
    this.limit = limit;
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /** The newest edit that is not undone: two times with the same one, the drawing is the same. */
  get top(): Edit | null {
    return this.done.at(-1) ?? this.floor;
  }

  /** Takes an edit that has been made; empty ones are none. */
  push(edit: Edit): void {
    if (!edit.length) return;
    this.done.push(edit.close());
    this.undone = [];
    let bytes = this.done.reduce((sum, e) => sum + e.bytes, 0);
    while (bytes > this.limit && this.done.length > 1) {
      this.floor = this.done.shift() as Edit;
      bytes -= this.floor.bytes;
    }
  }

  /** Bounds of what was undone, `null` where there was nothing to undo. */
  undo(): Box | null {
    const edit = this.done.pop();
    if (!edit) return null;
    edit.undo();
    this.undone.push(edit);
    return edit.box;
  }

  redo(): Box | null {
    const edit = this.undone.pop();
    if (!edit) return null;
    edit.redo();
    this.done.push(edit);
    return edit.box;
  }
}
