"""Pointing scores and figure 1, against sums by hand and colors at places."""

import shutil
import types

import numpy as np
import pytest

from data_builders.synthetic_faces import moved, population, truth_path
from data_builders.synthetic_faces.wild import behavior
from experiments import config as configs
from experiments import figure1, pointing
from experiments.pipeline import Pipeline


def rows_of(count):
    clip = population.sequence(population.Rules("bp4d"), "F001", "T1")
    at = [k for k in np.flatnonzero(clip.coded) if any(v[k] for v in clip.clean.values())][:count]
    rows = [("F001", "T1", int(clip.frames[k])) for k in at]
    return rows, np.array([[v[k] for v in clip.clean.values()] for k in at], np.int8)


def test_a_toy_unit_moves_its_patch_alone_and_is_drawn_in_the_frame_of_the_whole_picture():
    rows, clean = rows_of(2)
    framed = []

    def paint(face, strengths, scene, framing):
        framed.append((set(framing) - set(strengths), len(strengths)))
        image = np.full((256, 256, 3), 100, np.uint8)
        for au in strengths:
            image[au * 8 : au * 8 + 8, 40:60] = 103
        return image

    table = moved.draw("bp4d", rows, clean, renderer=paint)
    assert len(table.au) == clean.sum() and all(len(left) <= 1 for left, _ in framed)
    for au, bits in zip(table.au, moved.cover(table.packed, 256), strict=True):
        wanted = np.zeros((256, 256))
        wanted[au * 8 : au * 8 + 8, 40:60] = 1
        assert np.array_equal(bits, wanted)


def test_two_gray_levels_are_the_limit():
    dark = np.full((1, 3, 3), 50, np.uint8)
    assert moved.difference(dark + np.array([[[2], [3], [0]]], np.uint8), dark).tolist() == [
        [False, True, False]
    ]
    assert moved.difference(dark, dark + np.uint8(3)).all()  # darker counts as well


def test_a_smile_leaves_the_corners_of_the_picture_where_they_are():
    rows, clean = rows_of(3)
    table = moved.draw("bp4d", rows, clean)
    pixels = moved.cover(table.packed, 256)
    assert (pixels.mean(axis=(1, 2)) < 0.3).all() and pixels.any(axis=(1, 2)).all()


def stranger_rows(count):
    clips = [behavior.clip(name, "S1") for name in behavior.subjects()[:count]]
    shown = [(c, k) for c in clips for k in range(12) if any(v[k] for v in c.clean.values())]
    rows = [(c.subject, "S1", k) for c, k in shown]
    return rows, np.array([[v[k] for v in c.clean.values()] for c, k in shown], np.int8)


def test_units_of_strangers_move_pixels_where_they_are():
    rows, clean = stranger_rows(6)
    table = moved.draw("wild", rows, clean)
    assert len(table.au) == clean.sum()
    pixels = moved.cover(table.packed, 256)
    assert np.median(pixels.mean(axis=(1, 2))) < 0.2
    middle = (pixels * np.arange(256)[:, None]).sum(axis=(1, 2)) / pixels.sum(axis=(1, 2)).clip(1)
    heights = {au: np.median(middle[table.au == au]) for au in (1, 2, 7, 12, 17, 24)}
    assert max(heights[1], heights[2]) < heights[7] < heights[12] < heights[17]
    assert heights[7] < 120 < 160 < heights[24]


def test_strangers_of_another_program_are_refused():
    rows, clean = stranger_rows(1)
    with pytest.raises(ValueError, match="other faces were drawn"):
        moved.draw("wild", rows, 1 - clean)


def test_a_table_of_strangers_is_known_by_its_people(tmp_path):
    rows, clean = stranger_rows(1)
    truth = tmp_path / "truth.npz"
    subject, task, frame = (np.array(column) for column in zip(*rows, strict=True))
    units = np.array(population.label_units("wild"))
    np.savez(truth, subject=subject, task=task, frame=frame, clean=clean, label_aus=units)
    table = moved.load_or_draw(truth, rows, count=3)
    assert len({*zip(table.subject, table.frame, strict=True)}) == 3
    assert np.array_equal(moved.load_or_draw(truth, rows, count=3).packed, table.packed)


def test_bits_become_shares_of_smaller_pixels():
    bits = np.zeros((1, 256, 256), bool)
    bits[0, 0, :3] = True
    small = moved.cover(np.packbits(bits.reshape(1, -1), axis=1), 128)
    assert small[0, 0, :3].tolist() == [0.5, 0.25, 0.0]
    # 96 does not divide 256: every pixel takes its area of those of the full size.
    odd = moved.cover(np.packbits(bits.reshape(1, -1), axis=1), 96)
    assert odd.shape == (1, 96, 96) and odd.mean() == pytest.approx(bits.mean(), abs=1e-6)


def test_shares_by_hand_and_chance_of_a_flat_map():
    maps = np.array([[[0.5, 0.0], [0.25, 0.25]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]])
    cover = np.array([[[1, 0], [0, 0.5]]] * 3)
    found = pointing.shares(maps, cover)
    assert found[0] == (0.5 + 0.125) / 1.0 and np.isnan(found[1])
    assert found[2] == cover[0].mean()


def test_each_pair_meets_the_map_of_its_unit_and_of_its_frame():
    # Three pairs of two frames: AU4 in frame 1, AU1 in frame 0, AU4 in frame 0; a 2 x 2 picture.
    cover = np.array([[[1, 0], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0.5]]])
    said = np.zeros((2, 2, 2, 2))  # frame, row, column, unit
    said[0, :, :, 0] = [[3, 1], [4, 0]]
    said[0, :, :, 1] = [[1, 0], [0, 4]]
    said[1, :, :, 0] = [[0, 0], [9, 9]]
    said[1, :, :, 1] = [[1, 0], [1, 0]]
    rows, aus = np.array([1, 0, 0]), np.array([4, 1, 4])
    found = pointing._by_frame({"share": said}, cover, rows, aus, (1, 4), 2)
    assert np.array_equal(found["share"], [[4 / 8, 2 / 5], [np.nan, 1 / 2]], equal_nan=True)
    assert np.array_equal(found["area"], [[0.5, 0.125], [np.nan, 0.25]], equal_nan=True)


def test_means_leave_out_frames_without_the_unit():
    share = np.array([[0.2, np.nan], [0.6, np.nan]])
    found = pointing.summary({"share": share, "area": share / 2}, (1, 2))
    assert found["per_unit"] == {"1": pytest.approx(0.4), "2": None}
    assert found["mean"] == pytest.approx(0.4) and found["mean_chance"] == pytest.approx(0.2)


def test_frames_are_spread_over_those_that_show_something():
    showing = np.zeros((100, 2), bool)
    showing[10:60, 1] = True
    assert moved.chosen(showing, 3).tolist() in ([10, 34, 59], [10, 35, 59])
    assert moved.chosen(showing, 200).tolist() == list(range(10, 60))


def test_figure_shows_a_red_box_and_a_blue_region():
    image = np.full((64, 64, 3), 0.5)
    inside = np.zeros((64, 64))
    inside[16:32, 16:24] = inside[24:32, 16:48] = 1  # an L: its box is larger than it
    red, blue = figure1.patch(image, inside), figure1.region(image, inside)
    corner = (60, 130)  # inside of the box, outside of the L
    assert red[corner][0] > red[corner][2] + 50
    assert blue[corner].tolist() == [127] * 3 and blue[85, 60][2] > blue[85, 60][0] + 50
    # Three pixels of the picture for one of the map: rows 16 to 31 and columns 16 to 47 of the map, as far as a half.
    reddish = red[..., 0].astype(int) - red[..., 2] > 45
    rows, columns = np.flatnonzero(reddish.any(1)), np.flatnonzero(reddish.any(0))
    assert [*rows[[0, -1]], *columns[[0, -1]]] == [48, 95, 48, 143]
    maps = np.repeat(inside[..., None], 12, -1)
    units = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
    whole = figure1.compose(image, maps, maps, units, (6, 2))
    assert whole.shape[0] == 9 * 232 and (whole[:, -6:] == 255).all()
    # Of the twelve maps each, predefined and soft, none is left out: no cell is white.
    assert (whole[3 * 232 :].reshape(6, 232, 4, 204, 3) < 255).any(axis=(1, 3, 4)).all()


def test_predefined_maps_point_far_better_than_chance(small_data, tmp_path, monkeypatch):
    settings = ["model=nano", "data.dataset=synthetic_faces/small_bp4d", "eval.pointing_frames=6"]
    loaded = configs.load("demo", settings)
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="v")
    job = pipeline.job("pi1")
    test = job.datasets.to_test_fold("synthetic_faces/small_bp4d")
    side, units = job.config.data.image_size, len(job.maps)

    def flat(job, exported, images):
        return np.full((len(images), side, side, units), 0.5)

    monkeypatch.setattr(pointing, "_said", flat)
    own = truth_path(str(small_data), "small_bp4d")
    shutil.copy(own, truth := tmp_path / "truth.npz")
    assert test is not None
    found = pointing.score(job, {}, test, truth, tmp_path / "pointing.npz")
    assert found["frames"] <= 6 < len(test.records())
    assert found["predefined"]["mean"] > 4 * found["mean_chance"]
    # The same map everywhere points as chance does, unit by unit.
    assert found["per_unit"] == pytest.approx(found["chance"], abs=1e-6)


def test_every_frame_is_asked_once_in_batches_of_one_size():
    """Frames that fill the last batch are asked twice and counted once."""
    sizes = []

    def predict(parts, batch):
        sizes.append(len(batch))
        return types.SimpleNamespace(pi_probs=batch)

    job = types.SimpleNamespace(stage=types.SimpleNamespace(predict=predict))
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    found = pointing._said(job, {"generator": ()}, images, size=3)
    np.testing.assert_allclose(found, images / 255, rtol=1e-6)
    assert sizes == [3, 3, 3]
