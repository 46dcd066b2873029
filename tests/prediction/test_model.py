"""Loading models: every wrong file is told in one line, and a scan comes back on its own voxels."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.trained import Thresholds, make_plan, make_run

from semiseg.errors import SemisegError, UsageError
from semiseg.images.grid import Grid
from semiseg.networks import checkpoint
from semiseg.prediction.model import QUALITY, Model
from semiseg.preparation.forward import preprocess_image
from semiseg.preparation.plan import ChannelPlan

OBLIQUE = np.array([[0, -0.8, 0.1, 5], [0.9, 0, 0, -7], [0, 0.1, 3.0, 2], [0, 0, 0, 1.0]])


def scan(shape: tuple[int, ...] = (21, 17, 9), classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, (1, *shape)).astype(np.int16)


class TestSegment:
    def test_labels_come_back_on_the_scans_own_voxels(self, tmp_path: Path) -> None:
        image, grid = scan(), Grid((21, 17, 9), OBLIQUE)
        model = Model.load(make_run(tmp_path, make_plan(classes=3)), "cpu")
        found = model.segment(image, grid, probabilities=True, entropy=True)
        np.testing.assert_array_equal(found.labels, image[0])
        assert found.labels.dtype == np.uint8
        assert found.probabilities is not None
        assert found.entropy is not None
        assert found.probabilities.shape == (3, 21, 17, 9)
        np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
        assert found.entropy.shape == (21, 17, 9)
        assert 0 <= found.entropy.min() <= found.entropy.max() <= 1

    def test_labels_are_the_users_own_values(self, tmp_path: Path) -> None:
        plan = make_plan(classes=2, label_map={255: 1})
        model = Model.load(make_run(tmp_path, plan), "cpu")
        assert model.label_values == {"background": 0, "structure 1": 255}
        image = scan(classes=2)
        found = model.segment(image, Grid((21, 17, 9), np.eye(4))).labels
        np.testing.assert_array_equal(found, image[0] * 255)

    def test_2d_scans_and_stacks(self, tmp_path: Path) -> None:
        model = Model.load(make_run(tmp_path, make_plan(dim=2, classes=3, axes=(2, 0, 1))), "cpu")
        stack, picture = scan(), scan((30, 21))
        np.testing.assert_array_equal(model.segment(stack, Grid((21, 17, 9), OBLIQUE)).labels, stack[0])
        np.testing.assert_array_equal(model.segment(picture, Grid((30, 21), np.eye(4))).labels, picture[0])

    def test_prepared_and_raw_take_the_same_path(self) -> None:
        plan = make_plan(classes=3, spacing=(1.0, 1.0, 1.0))
        model, grid = Model.of(plan, [Thresholds(classes=3)]), Grid((21, 17, 9), OBLIQUE)
        image, geometry = preprocess_image(scan(), grid, plan)
        assert geometry.resampled
        raw = model.segment(scan(), grid, entropy=True)
        prepared = model.segment_prepared(image, geometry, entropy=True)
        np.testing.assert_array_equal(raw.labels, prepared.labels)
        np.testing.assert_array_equal(raw.entropy, prepared.entropy)

    def test_post_processing_is_part_of_it(self, tmp_path: Path) -> None:
        image = np.zeros((1, 12, 12, 12), np.float32)
        image[0, 1:5, 1:5, 1:5] = image[0, 8, 8, 8] = 1
        model, grid = Model.load(make_run(tmp_path), "cpu"), Grid((12, 12, 12), np.eye(4))
        assert model.segment(image, grid).labels.sum() == 65
        clean = model.with_settings(largest_component=True)
        assert clean.segment(image, grid).labels.sum() == 64

    def test_a_diverged_network_is_told(self) -> None:
        network = Thresholds()
        network.centers.data.fill_(float("nan"))
        with pytest.raises(SemisegError, match="NaN"):
            Model.of(make_plan(), [network]).segment(scan(), Grid((21, 17, 9), np.eye(4)))


class TestLoad:
    def test_final_is_preferred_and_the_sources_are_told(self, tmp_path: Path) -> None:
        make_run(tmp_path, name="last.ckpt", content={"kind": checkpoint.STATE, "step": 3})
        assert Model.load(tmp_path, "cpu").members[0].source["step"] == 3
        make_run(tmp_path, name="best.ckpt", content={"step": 5})
        assert Model.load(tmp_path, "cpu").members[0].source["step"] == 5
        make_run(tmp_path)
        model = Model.load(tmp_path, "cpu")
        assert model.members[0].source["step"] == 7
        file = tmp_path / "checkpoints" / "best.ckpt"
        assert Model.load(file, "cpu").members[0].source["file"] == str(file)

    def test_settings_of_the_run_and_overrides(self, tmp_path: Path) -> None:
        run = make_run(tmp_path, inference={"overlap": 0.75, "largest_component": True})
        model = Model.load(run, "cpu", overrides={"mirror": True})
        assert (model.settings.overlap, model.settings.mirror, model.settings.largest_component) == (
            0.75,
            True,
            True,
        )
        with pytest.raises(UsageError, match="overlap"):
            model.with_settings(overlab=0.5)

    @pytest.mark.parametrize(
        ("content", "axes"),
        [
            ({"mirrored": [1, 2]}, (1, 2)),
            ({"mirrored": []}, ()),
            ({}, (0,)),  # of a version that kept no record: left-right, by the default augmentation
            ({"config": '{"method": {"name": "x"}, "inference": {}, "augment": {"name": "la"}}'}, (0, 1)),
            ({"config": '{"method": {"name": "x"}, "inference": {}, "augment": {"name": "gone"}}'}, ()),
            ({"config": '{"method": {"name": "x"}, "inference": {}}'}, ()),
            (
                {
                    "config": '{"method": {"name": "x"}, "inference": {}, '
                    '"augment": {"name": "default", "options": {"mirror": [2]}}}'
                },
                (2,),
            ),
        ],
    )
    def test_only_what_training_mirrored_is_mirrored(self, tmp_path: Path, content: dict, axes) -> None:
        model = Model.load(make_run(tmp_path, content=content), "cpu")
        (member,) = model.members
        assert member.mirrored == axes
        assert model.mirrored(member) == ()
        model = model.with_settings(mirror=True)
        assert model.mirrored(member) == axes
        network = member.network
        model.copies[id(network)] = network  # so that the views can be seen
        network.seen.clear()
        views: list[torch.Tensor] = []
        network.register_forward_pre_hook(lambda _, inputs: views.append(inputs[0].clone()))
        image = scan((16, 16, 16), classes=2)
        np.testing.assert_array_equal(model.segment(image, Grid((16, 16, 16), np.eye(4))).labels, image[0])
        flips = [[a for i, a in enumerate(axes) if n >> i & 1] for n in range(2 ** len(axes))]
        wanted = [views[0].flip([a + 2 for a in flip]) for flip in flips]
        assert len(views) == len(wanted)
        assert all(any(torch.equal(view, want) for view in views) for want in wanted)

    def test_every_quality_does_something_else(self, tmp_path: Path) -> None:
        model = Model.load(make_run(tmp_path), "cpu")
        made = [model.with_settings(**changed) for changed in QUALITY.values()]
        assert len({(each.settings, each.mirrored(each.members[0])) for each in made}) == len(QUALITY) == 2

    def test_each_member_of_an_ensemble_is_mirrored_its_own_way(self, tmp_path: Path) -> None:
        a = make_run(tmp_path / "a", content={"mirrored": [0]})
        b = make_run(tmp_path / "b", shift=0.1, content={"mirrored": []})
        model = Model.load([a, b], "cpu").with_settings(mirror=True)
        counts = []
        for member in model.members:
            model.copies[id(member.network)] = member.network
            member.network.seen.clear()
        model.segment(scan((16, 16, 16), classes=2), Grid((16, 16, 16), np.eye(4)))
        counts = [len(member.network.seen) for member in model.members]
        assert counts == [2, 1]

    def test_the_id_follows_the_weights(self, tmp_path: Path) -> None:
        a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", shift=0.1)
        assert Model.load(a, "cpu").id == Model.load(a, "cpu").id != Model.load(b, "cpu").id
        assert Model.load([a, b], "cpu").id == Model.load([b, a], "cpu").id

    def test_training_heads_are_left_out(self, tmp_path: Path) -> None:
        weights = {**Thresholds().state_dict(), "heads.sdf.weight": torch.zeros(3)}
        assert len(Model.load(make_run(tmp_path, content={"predictor": weights}), "cpu").networks) == 1

    @pytest.mark.parametrize(
        ("content", "word"),
        [
            ({"kind": "something"}, "something"),
            ({"format": 2}, "format 2"),
            ({"plan": "{}"}, "plan|Field required"),
            ({"plan": 5}, "BAD_CHECKPOINT|cannot be used"),
            ({"config": "[1]"}, "cannot be used"),
            ({"predictor": {"centers": torch.zeros(7)}}, "do not fit"),
            ({"predictor": None}, "average"),
            ({"mirrored": [3]}, "mirrors axes"),
            ({"mirrored": "xy"}, "cannot be used"),
            ({"network": {"name": "tests.trained:Nothing", "options": {}}}, "Nothing"),
        ],
    )
    def test_wrong_content(self, tmp_path: Path, content: dict, word: str) -> None:
        with pytest.raises(UsageError, match=word) as caught:
            Model.load(make_run(tmp_path, content=content), "cpu")
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize("described", ["one", "average"])
    def test_a_file_does_not_choose_what_code_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: str
    ) -> None:
        name = f"evil_{described}"
        (tmp_path / f"{name}.py").write_text(
            "from pathlib import Path\nfrom tests.trained import Thresholds as Net\n"
            f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        network = {"name": f"{name}:Net", "options": {}}
        content = {"network": network if described == "one" else {"average_of": [network], **network}}
        run = make_run(tmp_path / "run", content=content)
        for allowed in ((), ("evi",), (f"{name}.other",)):
            with pytest.raises(UsageError, match="would run code") as caught:
                Model.load(run, "cpu", allow_code=allowed)
            assert f"--allow-code {name}" in caught.value.hint
        assert not (tmp_path / "ran").exists()
        if described == "one":
            assert Model.load(run, "cpu", allow_code=[name]).networks
            assert (tmp_path / "ran").exists()

    def test_missing_damaged_and_foreign_files(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no model at"):
            Model.load(tmp_path / "nowhere", "cpu")
        run = make_run(tmp_path / "deep" / "run")
        with pytest.raises(UsageError, match="holds no checkpoint") as caught:
            Model.load(tmp_path, "cpu")
        assert str(run) in caught.value.hint
        file = run / "checkpoints" / "final.ckpt"
        file.write_bytes(file.read_bytes()[:-200])
        with pytest.raises(UsageError, match="cannot be read"):
            Model.load(run, "cpu")
        file.write_bytes(pickle.dumps(Path("evil")))
        with pytest.raises(UsageError, match="cannot be read"):
            Model.load(run, "cpu")
        torch.save({"kind": checkpoint.MODEL, "predictor": Thresholds()}, file)  # a pickled class
        with pytest.raises(UsageError, match="cannot be read"):
            Model.load(run, "cpu")
        with pytest.raises(UsageError, match="no model was given"):
            Model.load([], "cpu")


class TestEnsemble:
    def test_members_are_averaged(self, tmp_path: Path) -> None:
        runs = [make_run(tmp_path / name, shift=s) for name, s in (("a", -0.3), ("b", 0.3), ("c", 0.2))]
        grid, image = Grid((8, 8, 8), np.eye(4)), np.full((1, 8, 8, 8), 0.6, np.float32)
        single = [Model.load(run, "cpu").segment(image, grid, probabilities=True) for run in runs]
        found = Model.load(runs, "cpu").segment(image, grid, probabilities=True)
        wanted = np.mean([s.probabilities for s in single], axis=0)
        np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)

    def test_folds_may_differ_in_intensity_statistics_and_patch(self, tmp_path: Path) -> None:
        ct = [ChannelPlan(name="CT", scheme="ct", p005=-1000, p995=1000, mean=mean) for mean in (0, 10)]
        plans = [make_plan(channels=(c,), patch=(edge,) * 3) for c, edge in zip(ct, (16, 8), strict=True)]
        runs = [make_run(tmp_path / str(k), plan) for k, plan in enumerate(plans)]
        image, grid = np.full((1, 9, 9, 9), 10, np.int16), Grid((9, 9, 9), np.eye(4))
        found = Model.load(runs, "cpu").segment(image, grid, probabilities=True)
        singles = [Model.load(run, "cpu").segment(image, grid, probabilities=True) for run in runs]
        assert singles[0].labels.min() == 1
        assert singles[1].labels.max() == 0
        wanted = (singles[0].probabilities + singles[1].probabilities) / 2
        np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)

    @pytest.mark.parametrize(
        ("other", "word"),
        [
            ({"labels": {"background": 0, "tumor": 1}}, "labels"),
            ({"spacing": (1.0, 1.0, 1.0)}, "spacing"),
            ({"channels": 2}, r"channels \(1 and 2\)"),
            ({"dim": 2}, "dim"),
        ],
    )
    def test_other_classes_or_grids_are_refused(self, tmp_path: Path, other: dict, word: str) -> None:
        runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", make_plan(**other))]
        with pytest.raises(UsageError, match=f"cannot form an ensemble.*{word}") as caught:
            Model.load(runs, "cpu")
        json.dumps(caught.value.as_dict())
