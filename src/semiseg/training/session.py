"""One training put together: network, method, batches, precision, loop, and what it leaves behind."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from semiseg import methods
from semiseg.batches import augment
from semiseg.batches.batches import Batches, Prefetch
from semiseg.core import Batch, Clock, Method, Stage
from semiseg.errors import DeviceError, Interrupted, UsageError, is_out_of_memory, on_one_line
from semiseg.machine import provenance
from semiseg.machine.files import remove_leftovers
from semiseg.machine.hardware import forget_peak_memory, native_precision
from semiseg.networks import checkpoint
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.resident import (
    blank,
    is_hardly_labeled,
    make_resident,
    partly_labeled,
    with_label,
    without_label,
)
from semiseg.preparation.store import StoredLabeledCase
from semiseg.runs.events import Listener, Notice
from semiseg.runs.folder import RunFolder, identity
from semiseg.runs.run import Run
from semiseg.settings.config import Config
from semiseg.training import trained
from semiseg.training.collapse import CollapseMonitor, cadence, share_spread
from semiseg.training.finish import Finish
from semiseg.training.loop import Loop
from semiseg.training.pseudo_labels import PseudoLabeler
from semiseg.training.samples import StageBatches, batch_sizes, stage_sizes, without_fold
from semiseg.training.start_from import START, Start, freshen, gently, told
from semiseg.training.trained import (
    StepMarks,
    compile_networks,
    described,
    factory,
    networks_of,
    require_fit,
    should_compile,
    trained_parameters,
)
from semiseg.training.update import Precision, iterate
from semiseg.training.validation import Validation

log = logging.getLogger("semiseg.train")


@dataclass
class Session:
    """The objects of one training, put together."""

    fabric: Fabric
    prepared: Prepared
    config: Config
    earlier: Mapping[str, Any] | None = None
    """What is known of a resumed run; see :attr:`semiseg.runs.folder.StoredRun.known`."""
    length: Mapping[str, float] | None = None
    """For the manifest of a run that is planned for a time; see :mod:`semiseg.training.length`."""
    start: Start | None = None
    """What the networks begin with, if not with random weights."""

    def __post_init__(self) -> None:
        config, plan, fabric = self.config, self.prepared.plan, self.fabric
        config.inference.require_fit(plan.patch, plan.structures)
        self.notices = list(self.prepared.dataset.notices)
        if self.earlier and (changed := provenance.changed_since(self.earlier.get("software", {}))):
            self.notices.append(f"resumed with {changed}: what is trained may come out differently from here")
        if config.select == "best-val" and not self.prepared.split.val:
            self.notices.append("no validation list to choose weights by: the last ones are exported")
        plain = factory(config, plan)
        make_net = plain if self.start is None else replace(plain, start=self.start)
        kind = methods.find(config.method.name)
        options = methods.check_options(kind, config.method.options)
        self.options = methods.all_options(kind, options)
        torch.manual_seed(config.train.seed)
        build: Callable[..., Method] = kind
        method = build(make_net, **options)
        method.activation = plan.head.activation
        if self.start is not None:
            self.notices += told(self.start)
            for name in method.trainable[1:]:
                freshen(self.start, getattr(method, name), plain)
        self.layout = torch.contiguous_format
        if config.train.channels_last:
            self.layout = torch.channels_last if plan.dim == 2 else torch.channels_last_3d
            trained.to_format(method, self.layout)
        self.method = method.to(fabric.device)
        predictor = getattr(method, method.predictor)
        require_fit(plan.patch, predictor, *(getattr(method, name) for name in method.trainable))
        self.networks = {
            name: described(getattr(method, name), make_net.description)
            for name in {method.predictor, *(s.network for s in method.stages if s.network)}
        }
        self.labeler: PseudoLabeler | None = None
        self.batches = self._batches()
        self.mirrored = self.batches.of(method.stages[0]).augmentation.mirrored
        self.precision = self._formats()
        self.graphs = config.train.compile == "graphs" and fabric.device.type == "cuda"
        wanted = should_compile(config.train.compile, fabric.device, int(config.train.iterations))
        if wanted and not config.network.checkpointing:  # the compiler keeps what it likes
            compile_networks(networks_of(self.method), graphs=self.graphs)
            self.notices.append("the networks are compiled: the first iterations take minutes")

    def run(self, folder: RunFolder, listeners: Sequence[Listener]) -> Run:
        """Train to the end, or to where the run stops, and write what it leaves behind."""
        prepared, config = self.prepared, self.config
        first = self.fabric.global_rank == 0
        with folder.logging(self.fabric.global_rank):
            if first and (self.earlier is None or "rebuilt" in self.earlier):
                self._describe(folder)
            validated = partial(Validation, prepared, config, self.precision.name, self.mirrored)
            validation = validated() if prepared.split.val else None
            loop = self.loop(folder, [*folder.listeners(), *listeners] if first else [], validation)
            if self.earlier is not None:
                if first:
                    for place in folder.filled:
                        remove_leftovers(place)
                restore(loop, folder.checkpoints / "last.ckpt")
            for text in self.notices:
                loop.tell(Notice(loop.step, text))
            self._label_with(loop, folder)
            forget_peak_memory(self.fabric.device)
            with told_out_of_memory(self.fabric.device, loop), self._source(loop.total) as batches:
                loop.batches = StepMarks(batches) if self.graphs else batches
                ended = loop.run()
            if first:
                Finish(folder, prepared, config, self.method, self.precision.name, validated)(loop, ended)
        if ended.reason == "interrupted":
            raise Interrupted(
                f"stopped at iteration {ended.step} of {loop.total}; everything is saved in {folder.path}",
                hint="the same command with --resume continues from there",
            )
        return Run(folder.path)

    def _describe(self, folder: RunFolder) -> None:
        """Write what is known before the first iteration: for people, and for a resumed run."""
        folder.write(
            self.prepared,
            self.config,
            precision=self.precision.name,
            batch=self.sizes,
            options=self.options,
            deviations=self.method.departures(self.config.protocol),
            parameters=trained_parameters(self.method),
        )
        if self.length:
            folder.note("length", dict(self.length))
        if self.start is not None:
            self.start.save(folder.checkpoints / START)
            chosen = self.config.start
            folder.note("start_from", {**self.start.about, "lr": chosen.lr, "warmup": chosen.warmup})

    def try_once(self) -> None:
        """One iteration of each stage of the real thing, to see that it fits."""
        loop = self.loop()
        for stage in self.method.stages:
            self.method.on_stage_start(stage.name)
            loop.build_optimizers()
            t = Clock(0, loop.total, stage.name)
            batch = self.batches.of(stage)(0)
            iterate(self.fabric, self.method, batch, loop.optimizers, t, self.precision)

    def _label_with(self, loop: Loop, folder: RunFolder) -> None:
        """Let the run make pseudo-labels, if its method wants some."""
        if not any(stage.pseudo for stage in self.method.stages):
            return
        self.labeler = PseudoLabeler(
            self.prepared,
            self.config,
            self.precision.name,
            self.fabric,
            folder.path,
            self.method.stages,
            lambda text: loop.tell(Notice(loop.step, text, warning=True)),
        )
        loop.label = self.labeler.make

    def _batches(self) -> StageBatches:
        config, prepared, fabric, method = self.config, self.prepared, self.fabric, self.method
        if method.views and not prepared.split.unlabeled:
            pseudo = any(stage.pseudo for stage in method.stages)
            instead = "learns from labels alone" if pseudo else "the labeled images serve as unlabeled ones"
            self.notices.append(f"no unlabeled cases: {instead}")
        self.cases = make_resident(
            [*prepared.labeled, *prepared.unlabeled],
            fabric.device,
            memory_gb=config.data.memory_gb,
            processes=fabric.world_size if fabric.device.type == "cpu" else 1,
        )
        dataset = prepared.dataset
        self.cases = partly_labeled(self.cases, dataset.labeled_classes, dataset.channels)
        self.made_ahead = bool(method.targets) or fabric.device.type == "cuda" or self.cases[0].on_disk
        self.sizes = batch_sizes(config, prepared.plan, method, fabric.world_size)
        return StageBatches(method.stages, int(config.train.iterations), self._batches_of)

    def _batches_of(self, stage: Stage) -> Batches:
        """Of one stage. Where there are no pseudo-labels yet, as before a run, background stands for them."""
        config, plan, count = self.config, self.prepared.plan, len(self.prepared.labeled)
        labeled, unlabeled = self.cases[:count], self.cases[count:]
        labeled = without_fold(labeled, *stage.fold)
        if stage.pseudo is not None:
            taught = self.labeler.taught(stage) if self.labeler else blank(unlabeled)
            unlabeled = [with_label(case, taught[case.id]) for case in unlabeled if case.id in taught]
        elif unlabeled:
            unlabeled = [*unlabeled, *map(without_label, filter(is_hardly_labeled, labeled))]
        sizes = stage_sizes(stage, self.sizes, len(unlabeled))
        batches = Batches(
            labeled,
            unlabeled,
            plan,
            augment.build(config.augment.name, plan, config.augment.options),
            sizes,
            views=self.method.views if sizes[1] else (),
            labeled_views=self.method.labeled_views,
            targets=self.method.targets,
            pseudo=stage.pseudo is not None and bool(sizes[1]),
            weights=self.prepared.split.weights,
            seed=config.train.seed,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        batches.memory_format = self.layout
        return batches

    def _formats(self) -> Precision:
        """Settle number and memory format; see :mod:`semiseg.training.trained`."""
        wanted = self.config.train.precision
        auto = native_precision(self.fabric.device) if wanted == "auto" else wanted
        chosen = trained.choose(
            self.fabric,
            self.method,
            self.batches(0),
            self.earlier["precision"] if self.earlier else auto,
            self.layout,
            asked=wanted != "auto",
        )
        self.layout = self.batches.of(self.method.stages[0]).memory_format = chosen.form
        self.notices += [chosen.notice] if chosen.notice else []
        return chosen.precision

    def loop(
        self,
        folder: RunFolder | None = None,
        listeners: Sequence[Listener] = (),
        validation: Validation | None = None,
    ) -> Loop:
        """The training loop over all of it; without a folder nothing is written."""
        config = self.config
        total = int(config.train.iterations)
        optimizer, schedule = config.optimizer, config.schedule
        if self.start is not None:
            optimizer, schedule = gently(optimizer, schedule, config.start, total)
        return Loop(
            self.fabric,
            self.method,
            self.batches,
            self.precision,
            total,
            config.train,
            optimizer,
            schedule,
            folder=folder.checkpoints if folder else None,
            describe=self._description,
            validate=validation,
            validate_every=config.validation.every or max(total // 10, 1),
            patience=config.validation.patience,
            monitor=self._monitor(total) if folder else None,
            listeners=listeners,
            rank_seed=self.fabric.global_rank,
        )

    def _monitor(self, total: int) -> CollapseMonitor | None:
        """The monitor of predictions on unlabeled scans; None without any, or without a whole label."""
        prepared, plan = self.prepared, self.prepared.plan
        if not prepared.split.unlabeled:
            return None
        found = cadence(total, sum(self.sizes) // self.fabric.world_size, self.config.train.log_every)
        whole = [case for case in prepared.labeled if case.id not in prepared.dataset.labeled_classes]
        labels = [thinned(case.label) for case in whole if isinstance(case, StoredLabeledCase)]
        if not labels:
            return None
        first = self.batches.of(self.method.stages[0])
        return CollapseMonitor(
            first.drawn_alike((found.labeled, 2 * found.labeled)),
            list(plan.structures),
            share_spread(labels, plan.head),
            found,
            total,
            self.precision.autocast,
            plan.head,
        )

    def _description(self, network: str) -> dict[str, Any]:
        return {
            "network": self.networks[network],
            "plan": self.prepared.plan.model_dump_json(),
            "config": self.config.model_dump_json(),
            "mirrored": list(self.mirrored),
            "identity": {**identity(self.prepared), "precision": self.precision.name},
            "in_channels": len(self.prepared.plan.channels),
            "classes": self.prepared.plan.classes,
        }

    def _source(self, total: int) -> AbstractContextManager[Callable[[int], Batch]]:
        """The batches, made ahead where that pays."""
        if self.made_ahead:
            return Prefetch(self.batches, total, self.fabric.device, self.batches.pauses)
        return nullcontext(self.batches)


@contextmanager
def told_out_of_memory(device: torch.device, loop: Loop | None = None) -> Iterator[None]:
    """What torch and the system say when memory runs out, as one line with what can be lowered.

    Raises:
        DeviceError: out of memory within the block.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        when = f"at iteration {loop.step}" if loop else "before the first iteration"
        raise DeviceError(
            f"out of memory on {device} {when}",
            hint="lower one of: plan.patch, batch.labeled and batch.unlabeled, plan.features; or trade "
            "time for memory by --set network.checkpointing=true, which --resume takes as well",
            code="OUT_OF_MEMORY",
        ) from error


def restore(loop: Loop, path: Path) -> None:
    """Let a loop go on from a checkpoint.

    Raises:
        UsageError: it is missing or damaged, or another version of the method wrote it.
    """
    state = checkpoint.load(path, checkpoint.STATE)
    try:
        loop.restore(state)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UsageError(
            f"{path} does not fit this training ({type(error).__name__}: {on_one_line(error)})",
            hint="resume with the versions that manifest.json names, or start again with --overwrite",
            code="RESUME_DIFFERS",
        ) from error


def thinned(label: NDArray[np.uint8], voxels: int = 200_000) -> torch.Tensor:
    """A copy of some rows and columns of a stored label: enough to know how much a class has."""
    step = max(1, math.ceil(math.sqrt(label.size / voxels)))
    return torch.from_numpy(np.array(label[:, ::step, ::step]))
