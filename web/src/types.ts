/** Objects of the server's interface, as the pages use them. */

export interface LabelClass {
  name: string;
  value: number;
  color: string;
}

export type CaseState = "labeled" | "accepted" | "predicted" | "unlabeled" | "test" | "bad";

export interface Session {
  version: string;
  dataset: {
    name: string;
    root: string;
    channels: string[];
    dimension: number;
    file_ending: string;
    labels: LabelClass[];
    ignore: number | null;
  };
  counts: Record<CaseState, number>;
  user: string;
  blind: boolean;
  run: string | null;
  offline: string;
}

export interface ExpectedDice {
  value: number;
  low: number;
  high: number;
  coverage: number;
}

export interface CaseRow {
  id: string;
  state: CaseState;
  group: string;
  shape: number[] | null;
  spacing: number[] | null;
  unit: string;
  version: number;
  /** Is there a label, be it that of a test case? */
  labeled: boolean;
  source: string | null;
  changed: string | null;
  by: string | null;
  run: string | null;
  uncertainty: number | null;
  expected_dice: ExpectedDice | null;
  expected_dice_reason: string | null;
  review: boolean;
  volumes: Record<string, number> | null;
  volume_unit: string;
  volumes_of: string | null;
  rank: number | null;
  reason: string | null;
  /** Planes of it that are most worth a label, where they were asked for. */
  slices: { axis: number; index: number; name: string; score: number | null; at: [number, number, number] }[];
  drawing: { user: string; since: string } | null;
  draft: boolean;
  note: string | null;
  thumbnail: string;
}

export interface CasePage {
  total: number;
  page: number;
  size: number;
  counts: Record<CaseState, number>;
  groups: string[];
  cases: CaseRow[];
}

export interface Version {
  version: number;
  source: string;
  by: string | null;
  time: string;
  run: string | null;
  kept_as: string | null;
}

export interface Dice {
  run: string;
  mean: number;
  classes: Record<string, number>;
}

export interface CaseDetail extends CaseRow {
  images: {
    channel: number;
    name: string;
    url: string;
    preview_url: string | null;
    rgb: boolean;
    /** Not a scan: a photograph, seen as it was taken. */
    picture: boolean;
    window: { low: number; high: number };
    /** Presets. */
    windows: { name: string; low: number; high: number }[];
  }[];
  label_url: string | null;
  prediction_url: string | null;
  uncertainty_url: string | null;
  draft_url: string | null;
  draft_version: number | null;
  /** The part of the scan that the draft holds; `null`: all of it. */
  draft_box: string | null;
  versions: Version[];
  runs: string[];
  dice: Dice | null;
  /** Of a large scan it is asked for by itself. */
  dice_url: string | null;
  previous: string | null;
  next: string | null;
  unlike: string[];
}

export interface Saved {
  version: number;
  state: CaseState;
  case: CaseRow;
  warnings: string[];
}

export interface Job {
  id: string;
  kind: string;
  state: "queued" | "running" | "done" | "failed" | "stopped";
  device: string;
  title: string;
  created: string;
  started: string | null;
  ended: string | null;
  run: string | null;
  step: number | null;
  total: number | null;
  seconds_left: number | null;
  /** Of a training that is made of several. */
  part: string | null;
  message: string | null;
  error: { code: string; message: string; hint: string } | null;
  can_stop: boolean;
  can_resume: boolean;
  command: string;
}

export interface Curve {
  train: { step: number; loss: number; seconds_left?: number | null }[];
  validation: { step: number; dice: number }[];
  next: number;
}

export interface Ranking {
  strategy: string | null;
  time: string | null;
  run: string | null;
  stale: boolean;
  cases: { id: string; rank: number; score: number; reason: string }[];
  job: string | null;
}

export interface Strategy {
  name: string;
  description: string;
  needs_model: boolean;
  default: boolean;
  source: string;
}

export interface Recommendation {
  method: string;
  reason: string;
  max_time: string;
  methods: { name: string; summary: string }[];
  start_from: string | null;
  /** False: the scans are still looked at, ask again. */
  ready?: boolean;
}

export interface RunRow {
  id: string;
  method: string;
  labeled: number;
  started: string | null;
  ended: string | null;
  finished: boolean;
  dice: number | null;
  iterations: number | null;
  predicted: number;
  deviations: string[];
  start_from: string | null;
}

export interface Results {
  rounds: { round: number; labels: number; run: string; dice: number | null; held_out: string[] | number }[];
  forecast: { labels: number; dice: number; low: number; high: number } | null;
  forecast_reason: string | null;
  report: string | null;
}
