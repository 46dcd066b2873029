"""Configurations that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bad_input.ground import TRAIN, Bad
from tests.trained import make_plan

from semiseg.preparation.plan import NetworkPlan

WITH_FILE = (*TRAIN, "-c", "mine.yaml")


def config(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "mine.yaml").write_text(text)


def setting(name: str, text: str, says: list[str], word: str = "CONFIG", code: int = 2) -> Bad:
    """One ``--set``."""
    return Bad(name, (*TRAIN, "--set", text), code, says, word=word)


FILES = [
    Bad(
        "config: unknown key",
        WITH_FILE,
        2,
        ["'optimizer.learning'", "lr"],
        config("optimizer: {learning: 1}"),
        "CONFIG",
    ),
    Bad(
        "unknown section",
        WITH_FILE,
        2,
        ["'optimiser'", "'optimizer'"],
        config("optimiser: {lr: 1}"),
        "CONFIG",
    ),
    Bad("wrong type", WITH_FILE, 2, ["optimizer.lr", "'fast'"], config("optimizer: {lr: fast}"), "CONFIG"),
    Bad(
        "config: two problems",
        WITH_FILE,
        2,
        ["optimizer.lr", "train.ema"],
        config("optimizer: {lr: 0}\ntrain: {ema: 2}"),
        "CONFIG",
    ),
    Bad(
        "not YAML",
        WITH_FILE,
        2,
        ["mine.yaml is not YAML at line 3"],
        config("a: 1\nb: [1,\n"),
        "CONFIG_NOT_YAML",
    ),
    Bad(
        "binary",
        WITH_FILE,
        2,
        ["mine.yaml is not YAML"],
        lambda f: (f / "mine.yaml").write_bytes(b"\xff\xfe\x00\x80" * 9),
        "CONFIG_NOT_YAML",
    ),
    Bad(
        "config: a key twice",
        WITH_FILE,
        2,
        ["mine.yaml, line 3", "'optimizer'", "twice"],
        config("optimizer: {lr: 0.1}\ntrain: {iterations: 5}\noptimizer: {lr: 0.2}\n"),
        "CONFIG_DUPLICATE",
    ),
    Bad(
        "config: aliases that stand for billions",
        WITH_FILE,
        2,
        ["mine.yaml, line", "aliases that stand for more than"],
        config(
            "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
            + "method: {options: {weight: *a8}}\n"
        ),
        "CONFIG",
    ),
    Bad("alias of itself", WITH_FILE, 2, ["an alias stands inside"], config("a: &a [*a]"), "CONFIG"),
    Bad(
        "config: deep nesting",
        WITH_FILE,
        2,
        ["levels deep"],
        config("optimizer: " + "[" * 5000 + "]" * 5000),
        "CONFIG",
    ),
    Bad(
        "config: a number of 20,000 digits",
        WITH_FILE,
        2,
        ["mine.yaml, line 1", "digits"],
        config("train: {iterations: " + "9" * 20_000 + "}"),
        "CONFIG",
    ),
    Bad("config: a month 13", WITH_FILE, 2, ["mine.yaml", "month"], config("train: 2020-13-01"), "CONFIG"),
    Bad("config: no such file", WITH_FILE, 2, ["mine.yaml"], None, "CONFIG_UNREADABLE"),
    Bad("config: a list", WITH_FILE, 2, ["mine.yaml", "list"], config("- 1\n- 2\n"), "CONFIG"),
    Bad("empty file", WITH_FILE, 2, ["mine.yaml"], config(""), "CONFIG"),
    Bad("section a number", WITH_FILE, 2, ["optimizer", "3"], config("optimizer: 3"), "CONFIG"),
    Bad("method a list", WITH_FILE, 2, ["method"], config("method: [a, b]")),
    Bad("folder as config", (*TRAIN, "-c", "data"), 2, ["data"], None, "CONFIG_UNREADABLE"),
]
HUGE = ["4096x4096x4096 voxels", "GB of memory, this machine has"]
SETTINGS = [
    setting("no equals", "optimizer.lr", ["key=value", "'optimizer.lr'"], "USAGE"),
    setting("--set without key", "=3", ["key=value"], "USAGE"),
    setting("not a YAML value", "optimizer.lr=[1", ["optimizer.lr", "[1"], "USAGE"),
    setting("--set deep nesting", "plan.patch=" + "[" * 99, ["plan.patch", "levels deep"], "USAGE"),
    setting("key misspelled", "optimizer.lrr=1", ["optimizer.lrr", "optimizer.lr"]),
    setting("section only", "optimizer=adam", ["optimizer", "adam"]),
    setting("iterations negative", "train.iterations=-5", ["train.iterations", "-5"]),
    setting("iterations zero", "train.iterations=0", ["train.iterations"]),
    setting("iterations word", "train.iterations=many", ["train.iterations", "many", "auto"]),
    setting("seed negative", "train.seed=-1", ["train.seed", "-1"]),
    setting("learning rate negative", "optimizer.lr=-0.1", ["optimizer.lr", "-0.1"]),
    setting("learning rate NaN", "optimizer.lr=.nan", ["optimizer.lr"]),
    setting("learning rate infinite", "optimizer.lr=.inf", ["optimizer.lr"]),
    setting("optimizer unknown", "optimizer.name=sdg", ["optimizer.name", "sdg", "'sgd'"]),
    setting("schedule unknown", "schedule.name=polly", ["schedule.name", "polly", "'poly'"]),
    setting("precision unknown", "train.precision=fp32", ["train.precision", "fp32"]),
    setting("method unknown", "method=mean_techer", ["mean_techer", "mean_teacher"], "UNKNOWN_METHOD"),
    setting("method option unknown", "method.options.weigth=1", ["weigth"], ""),
    setting("network unknown", "network.name=unett", ["unett", "'unet'"], "UNKNOWN_NETWORK"),
    setting("network option unknown", "network.options.dropuot=0.1", ["dropuot", "dropout"], ""),
    setting("network of MONAI unknown", "network.name=monai:Nope", ["Nope"], ""),
    setting("network not importable", "network.name=nowhere.nets:Net", ["nowhere"], ""),
    setting("network class unknown", "network.name=torch.nn:Nope", ["Nope"], ""),
    setting("method not importable", "method.name=nowhere.methods:M", ["nowhere"], ""),
    setting("augmentation unknown", "augment.name=defualt", ["defualt", "'default'"], ""),
    setting("augmentation option unknown", "augment.options.flipp=1", ["flipp"], ""),
    setting("augmentation of other dimension", "augment.name=acdc", ["acdc", "2D"], "AUGMENT_DIM"),
    setting("recipe unknown", "recipe=defualt", ["defualt", "'default'"], "UNKNOWN_RECIPE"),
    setting("patch of two axes", "plan.patch=[16,16]", ["patch"], ""),
    setting("patch negative", "plan.patch=[-16,16,16]", ["plan.patch"], ""),
    setting("patch text", "plan.patch=big", ["plan.patch", "big"]),
    setting("plan spacing zero", "plan.spacing=[0,1,1]", ["spacing", "0"], ""),
    setting("spacing of two axes", "plan.spacing=[1,1]", ["spacing"], ""),
    setting("dimension", "plan.dim=4", ["plan.dim", "4"]),
    setting("features empty", "plan.features=[]", ["features"], ""),
    setting("features negative", "plan.features=[-8,16]", ["features"], ""),
    setting("batch zero", "plan.batch=0", ["plan.batch", "0"]),
    setting("overlap", "inference.overlap=1", ["inference.overlap", "1"]),
    setting("inference stride negative", "inference.stride=[-1,1,1]", ["stride"], ""),
    setting("inference stride of two axes", "inference.stride=[1,1]", ["stride [1, 1]", "3"], "INFERENCE"),
    setting("inference stride too wide", "inference.stride=[99,99,99]", ["99", "gaps"], "INFERENCE"),
    setting("slices of a 3D plan", "inference.slice_size=[9,9]", ["slice_size", "3D"], "INFERENCE"),
    setting("holes of no class", "inference.fill_holes=[livr]", ["livr"], "UNKNOWN_CLASS"),
    setting("component of no class", "inference.largest_component=[livr]", ["livr"], "UNKNOWN_CLASS"),
    setting("method option value", "method.options.tau=7", ["tau", "7"], ""),
    setting("method option word", "method.options.form=sideways", ["sideways"], ""),
    setting("method option type", "method.options.weight=heavy", ["weight", "heavy"], ""),
    setting("network option value", "network.options.dropout=7", ["dropout", "7"], ""),
    setting("network option type", "network.options.dropout=wet", ["dropout", "wet"], ""),
    setting(
        "augmentation option value",
        "augment.options.rotation=round",
        ["rotation"],
        "UNKNOWN_OPTION_OF_AUGMENTATION",
    ),
    setting("augmentation option type", "augment.options.rotate=round", ["rotate", "round"], "OPTION_VALUE"),
    setting("memory far too small", "plan.memory_gb=0.000001", ["memory"], ""),
    setting("dimension 2 of tiny slices", "plan.dim=1", ["plan.dim"]),
    setting("every zero", "validation.every=0", ["validation.every", "0"]),
    setting("labeled zero", "data.labeled=0", ["data.labeled", "0"]),
    setting("labeled too many", "data.labeled=9", ["9", "1 to 3"], "LABELED"),
    setting("labeled patients unknown", "data.labeled_patients=1", ["group_by_patient"], "LABELED"),
    setting("fold out of range", "data.fold=3", ["fold 3", "only fold"], "FOLD"),
    setting("patch larger than any memory", "plan.patch=[4096,4096,4096]", HUGE, "PLAN_MEMORY"),
    setting(
        "batch larger than any memory", "batch.labeled=9000000", ["9000000 patches", "GB"], "PLAN_MEMORY"
    ),
    setting("batch shares", "batch.labeled=0", ["batch.labeled"]),
]


DIVISOR = ("--network", "vnet", "--set", "plan.patch=[13,13,13]")


def huge_plan(folder: Path) -> None:
    make_plan(classes=3, patch=(4096, 4096, 4096), network=NetworkPlan()).save(folder / "huge.json")


def run_there(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "config.yaml").write_text("recipe: default\n")


def notes_there(folder: Path) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "thesis.txt").write_text("precious")


TRAINING = [
    Bad("patch indivisible", (*TRAIN, *DIVISOR), 2, ["[13, 13, 13]", "[16, 16, 16]"], word="PATCH_DIVISOR"),
    Bad("--labeled 0", (*TRAIN, "--labeled", "0"), 2, ["--labeled", "0"], word="USAGE"),
    Bad("--labeled -1", (*TRAIN, "--labeled", "-1"), 2, ["--labeled", "-1"], word="USAGE"),
    Bad("--labeled 99", (*TRAIN, "--labeled", "99"), 2, ["99", "1 to 3"], word="LABELED"),
    Bad("--fold 7", (*TRAIN, "--fold", "7"), 2, ["fold 7"], word="FOLD"),
    Bad("--iterations -1", (*TRAIN, "--iterations", "-1"), 2, ["--iterations", "-1"], word="USAGE"),
    Bad("--max-time -1", (*TRAIN, "--max-time", "-1"), 2, ["max_time", "-1"], word="CONFIG"),
    Bad(
        "--device nonsense",
        (*TRAIN, "--device", "nonsense"),
        2,
        ["'nonsense'", "cuda:N"],
        word="UNKNOWN_DEVICE",
    ),
    Bad(
        "--device absent",
        (*TRAIN, "--device", "cuda:9"),
        4,
        ["cuda:9", "--device auto or cpu"],
        word="NO_DEVICE",
    ),
    Bad("--devices 0", (*TRAIN, "--devices", "0"), 2, ["--devices", "0"], word="USAGE"),
    Bad(
        "--method unknown",
        (*TRAIN, "--method", "meanteacher"),
        2,
        ["'meanteacher'", "'mean_teacher'"],
        word="UNKNOWN_METHOD",
    ),
    Bad("--network unknown", (*TRAIN, "--network", "vent"), 2, ["'vent'", "'vnet'"], word="UNKNOWN_NETWORK"),
    Bad("--recipe unknown", (*TRAIN, "--recipe", "lla"), 2, ["'lla'", "'la'"], word="UNKNOWN_RECIPE"),
    Bad("--network in capitals", (*TRAIN, "--network", "UNet"), 2, ["'UNet'", "'unet'"]),
    Bad("--recipe no file", (*TRAIN, "--recipe", "no.yaml"), 2, ["no.yaml"], word="CONFIG_UNREADABLE"),
    Bad("no plan file", (*TRAIN, "--plan", "no.json"), 2, ["no.json"], word="PLAN_UNREADABLE"),
    Bad("plan file broken", (*TRAIN, "--plan", "data/splits.json"), 2, ["splits.json"]),
    Bad(
        "plan file larger than any memory",
        (*TRAIN, "--plan", "huge.json"),
        2,
        HUGE,
        huge_plan,
        "PLAN_MEMORY",
    ),
    Bad("plan file of other data", (*TRAIN, "--plan", "other.json"), 2, ["other.json"]),
    Bad(
        "run there",
        (*TRAIN, "--run", "there"),
        2,
        ["there is not empty", "--resume", "--overwrite"],
        run_there,
        "RUN_EXISTS",
    ),
    Bad(
        "notes there",
        (*TRAIN, "--run", "there", "--overwrite"),
        2,
        ["there is not empty", "another folder"],
        notes_there,
        "RUN_EXISTS",
    ),
    Bad("runs below a file", (*TRAIN, "--runs", "data/dataset.json"), 2, ["dataset.json"]),
    Bad("run is a file", (*TRAIN, "--run", "data/dataset.json"), 2, ["dataset.json"]),
]
