import csv
import dataclasses
import json

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from mean_face import mirror_landmarks

from data_builders.synthetic_faces import (
    actions,
    anatomy,
    checks,
    geometry,
    population,
    probes,
    raw_layouts,
    truth,
    truth_path,
)  # fmt: skip
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as builders
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import faces, folds, records
from piapdf_jax.action_units import BP4D_AUS, DISFA_AUS, RECORD_AUS, record_columns
from piapdf_jax.pi_maps import MIRROR

KINDS = population.AU_KINDS + population.IDENTITY_KINDS
UP, DOWN, OUT, IN = (1, -1), (1, 1), (0, 1), (0, -1)


@pytest.fixture(scope="module")
def pictures():
    """A dozen people, each with some expression."""
    found = []
    for k in range(12):
        rng = np.random.default_rng([7, k])
        strengths = {au: float(rng.uniform(0.3, 1)) for au in rng.choice(BP4D_AUS, 3)}
        found.append(render(anatomy.draw_identity(rng), strengths, draw_scene(rng)))
    return found


def _neutral_scene():
    scene = draw_scene(np.random.default_rng(3), spread=0.0)
    return dataclasses.replace(scene, noise=0.0, blur=0.0)


# Who is drawn


def test_people_are_disjoint_over_data_sets():
    drawn = {
        kind: {population.person(kind, s) for s in population.subjects(kind)} for kind in KINDS
    }
    assert [len(drawn[kind]) for kind in KINDS] == [41, 27, 48, 80, 60]
    assert len(set().union(*drawn.values())) == 41 + 27 + 48 + 80 + 60
    looks = {person.shape for people in drawn.values() for person in people}
    assert len(looks) == 41 + 27 + 48 + 80 + 60


@pytest.mark.parametrize("kind", KINDS)
def test_splits_share_no_person_and_leave_none_out(kind):
    config = builders.SyntheticFacesConfig(name=kind, kind=kind)
    splits = {
        split: {spec.subject for spec in specs} for split, specs in builders._splits(config).items()
    }
    coded = {split: names for split, names in splits.items() if not split.endswith("uncoded")}
    assert sum(map(len, coded.values())) == len(set().union(*coded.values()))
    assert set().union(*coded.values()) == set(population.subjects(kind))
    for split, names in splits.items():
        assert names == coded[split.removesuffix("_uncoded")]
    if kind == "bp4d":
        assert {k: splits[f"part{k}"] for k in (1, 2, 3)} == {
            k: set(names) for k, names in folds.BP4D_PARTS.items()
        }


def test_variants_of_bp4d_are_the_same_people_with_other_switches():
    configs = {config.name: config for config in builders.Builder.BUILDER_CONFIGS}
    assert set(configs) == {*KINDS, "bp4d_no_habits", "bp4d_clean", "bp4d_more", "wild"}
    assert configs["bp4d_clean"].rules.wrong_labels == 0
    assert not configs["bp4d_no_habits"].rules.habits
    clean, published = (
        population.sequence(configs[name].rules, "M004", "T2") for name in ("bp4d_clean", "bp4d")
    )
    assert all(np.array_equal(clean.clean[au], published.clean[au]) for au in BP4D_AUS)
    assert clean.strengths == published.strengths


# The drawing


def test_a_picture_is_a_function_of_its_words_alone():
    spec = builders.SequenceSpec(population.Rules("bp4d"), "F003", "T4", False, 0)
    other = spec._replace(subject="M002", coded=True)
    first = builders.draw(spec)
    builders.draw(other)
    again = builders.draw(spec)
    assert [key for key, _ in first] == [key for key, _ in again]
    for (_, one), (_, two) in zip(first, again, strict=True):
        assert one["image"] == two["image"]
        assert np.array_equal(one["landmarks"], two["landmarks"])


def test_average_face_is_its_own_mirror_image():
    points = anatomy.AVERAGE * 100 + (255 / 2, 100)
    np.testing.assert_allclose(mirror_landmarks(points, size=256), points, atol=1e-4)
    for au, moves in actions.MOVES.items():
        np.testing.assert_allclose(moves[MIRROR] * (-1, 1), moves, atol=1e-7, err_msg=f"AU {au}")


def test_landmarks_lie_in_the_picture_in_anatomical_order(pictures):
    for picture in pictures:
        points = picture.landmarks
        assert picture.image.shape == (256, 256, 3) and picture.image.dtype == np.uint8
        assert points.shape == (68, 2) and (points > 0).all() and (points < 255).all()
        assert points[36:42, 0].mean() < points[27, 0] < points[42:48, 0].mean()
        assert points[17:27, 1].mean() < points[36:48, 1].mean() < points[30, 1]
        assert points[30, 1] < points[51, 1] < points[57, 1] < points[8, 1]


@pytest.mark.parametrize("seed", range(4))
def test_the_picture_shows_at_a_landmark_what_was_drawn_there(seed):
    rng = np.random.default_rng(seed)
    face = anatomy.draw_identity(rng)
    points = actions.move(anatomy.neutral_landmarks(face), {12: 0.7, 1: 0.5})
    canvas = geometry.CROP
    height = geometry.relief(canvas, face, points, actions.bulges(points, {12: 0.7, 1: 0.5}))
    depths = geometry.sample(canvas, height, points)
    turned = geometry.rotation(*rng.uniform(-18, 18, 2), rng.uniform(-10, 10))
    seen = geometry.view(turned, scale=105.0, center=np.array((128.0, 110.0)))
    shown = geometry.inverse_map(canvas, height, seen, (256, 256))
    spot = seen.project(points, depths).astype(np.float32)
    found = cv2.remap(shown, spot[:, None], None, cv2.INTER_LINEAR)[:, 0]
    error = np.linalg.norm(found - canvas.pixels(points), axis=1)
    # The jaw turns out of sight; there a relief hides behind itself.
    assert error[17:].max() < 1.0 and np.median(error) < 0.25


def test_a_turned_head_shows_more_of_one_half():
    face = population.person("bp4d", "F001")
    widths = {}
    for yaw in (-20, 20):
        scene = dataclasses.replace(_neutral_scene(), yaw=float(yaw), pitch=0.0, roll=0.0)
        points = render(face, {}, scene).landmarks
        widths[yaw] = (points[27, 0] - points[36, 0]) / (points[45, 0] - points[27, 0])
    assert widths[20] > 1.15 * widths[-20]


def test_dlib_finds_the_faces_and_agrees_about_the_landmarks(pictures):
    detector = faces.DlibDetector()
    errors = []
    for picture in pictures:
        found = detector(picture.image)
        if found is not None:
            known = picture.landmarks
            width = np.linalg.norm(known[36] - known[45])
            errors.append(np.linalg.norm(found[17:] - known[17:], axis=1).mean() / width)
    assert len(errors) >= 0.85 * len(pictures)
    assert np.mean(errors) < 0.08


# What action units do


@pytest.mark.parametrize(
    ("au", "landmark", "way", "least"),
    [
        (1, 22, UP, 0.06), (2, 25, UP, 0.06), (4, 22, DOWN, 0.03), (4, 22, IN, 0.02), (6, 46, UP, 0.01),
        (7, 43, DOWN, 0.01), (7, 47, UP, 0.01), (9, 35, UP, 0.02), (10, 52, UP, 0.03), (12, 54, UP, 0.05),
        (12, 54, OUT, 0.05), (14, 54, OUT, 0.02), (15, 54, DOWN, 0.05), (17, 57, UP, 0.03), (17, 8, UP, 0.02),
        (23, 54, IN, 0.03), (24, 57, UP, 0.02), (25, 66, DOWN, 0.03), (26, 8, DOWN, 0.1), (26, 66, DOWN, 0.1),
    ],
)  # fmt: skip
def test_an_action_unit_moves_its_landmarks_its_way(au, landmark, way, least):
    moved = actions.move(anatomy.AVERAGE, {au: 1.0}) - anatomy.AVERAGE
    axis, sign = way
    assert sign * moved[landmark, axis] > least
    half = actions.move(anatomy.AVERAGE, {au: 0.5}) - anatomy.AVERAGE
    assert 0 < sign * half[landmark, axis] < sign * moved[landmark, axis]


@pytest.mark.parametrize("au", RECORD_AUS)
def test_an_action_unit_changes_the_picture_where_it_acts_and_the_more_the_stronger(au):
    face, scene = population.person("bp4d", "M004"), _neutral_scene()
    # Not the aligned crop, which moves as a whole when its landmarks do.
    rest = render(face, {}, scene, side=2.6)
    changes = []
    for strength in (0.5, 1.0):
        image = render(face, {au: strength}, scene, side=2.6).image
        changes.append(np.abs(image.astype(float) - rest.image).sum(-1))
    assert changes[1].sum() > 1.2 * changes[0].sum() > 0
    between = int(rest.landmarks[[36, 45, 30], 1].mean())
    upper, lower = changes[1][:between].sum(), changes[1][between:].sum()
    above = {1: True, 2: True, 4: True, 7: True}.get(
        au, au not in (10, 12, 14, 15, 17, 23, 24, 25, 26)
    )
    if au not in (6, 9):  # these act on both sides of the line
        assert (upper > 1.5 * lower) if above else (lower > 1.5 * upper)


def test_lips_and_lids_never_cross():
    rng = np.random.default_rng(1)
    for _ in range(200):
        strengths = {au: float(rng.random() < 0.5) for au in RECORD_AUS}
        points = actions.move(anatomy.neutral_landmarks(anatomy.draw_identity(rng)), strengths)
        assert (points[[67, 66, 65], 1] > points[[61, 62, 63], 1]).all()
        assert (points[[58, 57, 56], 1] > points[[67, 66, 65], 1]).all()
        assert (points[[41, 40, 47, 46], 1] > points[[37, 38, 43, 44], 1]).all()


# Labels


def _table(kind, **switches):
    clips = checks.clips(population.Rules(kind, **switches))
    aus = DISFA_AUS if kind == "disfa" else BP4D_AUS
    return tuple(
        np.concatenate([np.stack([getattr(c, name)[au][c.coded] for au in aus], 1) for c in clips])
        for name in ("clean", "published")
    )


def test_base_rates_are_those_of_bp4d():
    clips = checks.clips(population.Rules("bp4d"))
    clean = np.concatenate([np.stack([c.clean[au] for au in BP4D_AUS], 1) for c in clips])
    np.testing.assert_allclose(clean.mean(0), list(population.BP4D_RATES.values()), atol=1e-3)
    always_yes, _, _ = checks.label_rates()
    assert 40 < always_yes < 55


@pytest.mark.parametrize("share", [0.0, 0.04, 0.2])
def test_published_labels_are_wrong_as_often_as_asked(share):
    clean, published = _table("bp4d", wrong_labels=share, unknown=0.01)
    known = published >= 0
    wrong = (published != clean)[known].mean()
    assert abs(wrong - share) < 4 * np.sqrt(share / clean.size) + 1e-9
    assert abs((~known).mean() - 0.01) < 4 * np.sqrt(0.01 / clean.size)


def test_wrong_labels_of_disfa_cross_the_threshold():
    clean, published = _table("disfa", wrong_labels=0.2, unknown=0.0)
    assert set(np.unique(clean)) == set(range(6))
    assert published.min() >= 0 and published.max() <= 5
    wrong = published != clean
    assert 0.15 < wrong.mean() < 0.25
    assert ((published >= 2) != (clean >= 2))[wrong].all()


def test_movements_run_smoothly_through_a_sequence():
    clip = population.sequence(population.Rules("bp4d"), "F001", "T1")
    table = np.array([[row[au] for au in BP4D_AUS] for row in clip.strengths])
    shuffled = np.random.default_rng(0).permutation(table)
    assert np.abs(np.diff(table, axis=0)).mean() < 0.6 * np.abs(np.diff(shuffled, axis=0)).mean()
    assert clip.coded.sum() == 8 and np.array_equal(np.diff(clip.frames), np.ones(11))


def test_a_person_tells_more_of_the_labels_where_there_are_habits():
    bits = checks.habit_information()
    assert bits[True] > 0.08 and abs(bits[False]) < 0.03


# Probes, against closed forms


def test_information_of_people_who_differ_fully_and_not_at_all():
    person, sequence = np.repeat(np.arange(20), 40), np.arange(800)
    alone = np.repeat(np.arange(20) % 2, 40)[:, None]
    assert probes.person_information(alone, person, sequence) == pytest.approx(1.0, abs=0.05)
    coin = np.random.default_rng(0).integers(0, 2, (800, 4))
    assert abs(probes.person_information(coin, person, sequence)) < 0.01


def test_ridge_is_the_solution_of_the_normal_equations():
    rng = np.random.default_rng(0)
    x, test = rng.normal(size=(40, 6)), rng.normal(size=(9, 6))
    y = rng.integers(0, 2, (40, 3)).astype(float)
    found = probes._ridge(x, y, test)
    for penalty in (1.0, 100.0):
        centered = x - x.mean(0)
        system = centered.T @ centered + penalty * np.eye(6)
        weights = np.linalg.solve(system, centered.T @ (y - y.mean(0)))
        key = min(found, key=lambda p: abs(p - penalty))
        np.testing.assert_allclose(found[key], (test - x.mean(0)) @ weights + y.mean(0), atol=1e-9)


def test_f1_of_always_yes_follows_from_the_rates():
    labels = np.random.default_rng(0).random((500, 4)) < (0.1, 0.3, 0.5, 0.9)
    rates = labels.mean(0)
    expected = 100 * np.mean(2 * rates / (1 + rates))
    assert probes.f1(labels, np.ones_like(labels)) == pytest.approx(expected)


def test_pair_accuracy_finds_a_threshold_and_no_signal_where_there_is_none():
    same, block = np.tile((1, 0), 300), np.repeat(np.arange(10), 60)
    rng = np.random.default_rng(0)
    near = rng.normal(size=600) + 8 * (1 - same)
    assert probes.pair_accuracy(near, same, block) > 99
    assert probes.pair_accuracy(rng.normal(size=600), same, block) < 57


def test_the_background_does_not_tell_people_apart():
    assert checks.background_accuracy() < 55


# The builder


def _build(tmp_path, **fields):
    builder = builders.Builder(
        data_dir=tmp_path, config=builders.SyntheticFacesConfig(name="tiny", **fields)
    )
    builder.download_and_prepare(file_format="array_record")
    return builder


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_records_of_bp4d_read_back(tmp_path):
    builder = _build(tmp_path, people=1)
    folder = tmp_path / "synthetic_faces" / "tiny" / "1.0.0"
    source = tfds.builder_from_directory(folder).as_data_source()
    sizes = {split: len(found) for split, found in source.items()}
    assert sizes == builder.expected_examples
    assert sizes == {
        folds.part_split(k, coded=c): 64 if c else 32 for k in (1, 2, 3) for c in (True, False)
    }
    columns = record_columns(BP4D_AUS)
    others = [k for k in range(len(RECORD_AUS)) if k not in columns]
    for record in source["part2"]:
        assert set(record) == set(records.AU_FEATURES)
        assert record["image"].shape == (256, 256, 3) and record["coded"] == 1
        assert (record["labels"][others] == -1).all() and (record["intensities"] == -1).all()
        clip = population.sequence(builder.builder_config.rules, "F003", _text(record["task"]))
        (row,) = np.flatnonzero(clip.frames == record["frame"])
        assert record["labels"][columns].tolist() == [clip.published[au][row] for au in BP4D_AUS]
    uncoded = source["part2_uncoded"][0]
    assert uncoded["coded"] == 0 and (uncoded["labels"] == -1).all()


def test_truth_lies_outside_the_data_set_and_covers_its_coded_frames(tmp_path):
    builder = _build(tmp_path, kind="disfa", people=1, wrong_labels=0.3)
    path = truth_path(tmp_path, "tiny")
    assert path.is_file() and not path.is_relative_to(builder.data_dir)
    with np.load(path) as file:
        table = {name: file[name] for name in file.files}
    assert set(table) == {"subject", "task", "frame", "label_aus", "clean"}
    assert tuple(table["label_aus"]) == DISFA_AUS
    rows = dict(
        zip(
            zip(table["subject"], table["frame"].tolist(), strict=True), table["clean"], strict=True
        )
    )
    wrong = []
    for part in (1, 2, 3):
        for record in builder.as_data_source(f"part{part}"):
            assert set(record) == set(records.AU_FEATURES)
            clean = rows.pop((_text(record["subject"]), int(record["frame"])))
            written = record["labels"][record_columns(DISFA_AUS)]
            assert np.array_equal(written, record["intensities"][record_columns(DISFA_AUS)] >= 2)
            wrong.append(written != (clean >= 2))
    assert not rows and 0.2 < np.mean(wrong) < 0.4


def test_afew_va_has_maps_but_no_labels():
    rules = population.Rules("afew_va")
    examples = builders.draw(builders.SequenceSpec(rules, "actor007", "", True, 0))
    assert len(examples) == 10
    for _, example in examples:
        assert (example["labels"] == -1).all() and example["coded"] == 0
        planes = cv2.imdecode(np.frombuffer(example["pi_maps"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert records.unpack_planes(planes, record_columns(BP4D_AUS)).any((0, 1)).all()


def test_lfw_pairs_follow_the_protocol(tmp_path):
    rows = population.pairs()
    same = np.array([row[4] for row in rows])
    block = np.array([row[5] for row in rows])
    assert np.array_equal(np.bincount(block), np.full(10, 60))
    assert np.array_equal(np.bincount(block, same), np.full(10, 30))
    assert len(set(rows)) == len(rows)
    members = [
        {name for row in rows if row[5] == b for name in (row[0], row[2])} for b in range(10)
    ]
    assert sum(map(len, members)) == len(set().union(*members))
    for one, first, other, second, is_same, _ in rows:
        assert (one == other) == bool(is_same) and (one, first) != (other, second)
    builder = _build(tmp_path, kind="lfw", people=2)
    stored = tfds.builder_from_directory(builder.data_dir).info.metadata["pairs"]
    shown = {(_text(r["name"]), int(r["number"])) for r in builder.as_data_source("test")}
    assert {(row[i], row[i + 1]) for row in stored for i in (0, 2)} <= shown
    assert {int(r["identity"]) for r in builder.as_data_source("test")} == {0, 1}


# Raw layouts, read with nothing of ours


def test_raw_bp4d(tmp_path):
    raw_layouts.write_raw("bp4d", tmp_path, people=["F002"], size=96, first_picture=0)
    for task in folds.BP4D_TASKS:
        with (tmp_path / "AUCoding" / "AU_OCC" / f"F002_{task}.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        assert header == [str(k) for k in range(100)]
        clip = population.sequence(population.Rules("bp4d"), "F002", task)
        assert [int(row[0]) for row in rows] == clip.frames[clip.coded].tolist()
        for row, k in zip(rows, np.flatnonzero(clip.coded), strict=True):
            for au in range(1, 100):
                value = clip.published[au][k] if au in BP4D_AUS else -1
                assert row[au] == ("9" if value == -1 else str(value))
        files = sorted((tmp_path / "2D+3D" / "F002" / task).iterdir())
        assert [int(file.stem) for file in files] == [f - 1 for f in clip.frames.tolist()]
        assert cv2.imread(str(files[0])).shape == (96, 96, 3)


def test_raw_disfa(tmp_path):
    raw_layouts.write_raw("disfa", tmp_path, people=1, size=96, video=True)
    files = {file.stem: cv2.imread(str(file)) for file in (tmp_path / "Images" / "SN001").iterdir()}
    assert set(files) == {str(k) for k in range(20)}
    clip = population.sequence(population.Rules("disfa", unknown=0.0), "SN001", "")
    for au in DISFA_AUS:
        text = (tmp_path / "ActionUnit_Labels" / "SN001" / f"SN001_au{au}.txt").read_text()
        lines = [tuple(map(int, line.split(","))) for line in text.split()]
        assert lines == list(enumerate(clip.published[au].tolist(), 1))
    film = cv2.VideoCapture(str(tmp_path / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi"))
    shots = []
    while (read := film.read())[0]:
        shots.append(read[1])
    film.release()
    assert len(shots) == 20
    assert np.abs(shots[7].astype(float) - files["7"]).mean() < 6


def test_raw_afew_va(tmp_path):
    raw_layouts.write_raw("afew_va", tmp_path, people=1, size=200)
    content = json.loads((tmp_path / "001" / "001.json").read_text())
    assert content["video_id"] == "001" and content["actor"] == "actor000"
    assert list(content["frames"]) == [f"{k:05d}" for k in range(10)]
    for name, frame in content["frames"].items():
        points = np.array(frame["landmarks"])
        assert points.shape == (68, 2) and points.min() > 0 and points.max() < 200
        assert all(-10 <= frame[word] <= 10 for word in ("valence", "arousal"))
        image = cv2.imread(str(tmp_path / "001" / f"{name}.png"))
        crop, _ = faces.crop(image, points)
        assert crop.shape == (256, 256, 3)
        # The aligned crop takes a bit more than half of the picture.
        assert 0.5 < 1 / (np.hypot(*faces.crop_matrix(points)[:, 0]) * 200 / 256) < 0.75


def test_raw_webface_and_lfw(tmp_path):
    raw_layouts.write_raw("webface", tmp_path / "w", people=2, size=96)
    folders = sorted(path.name for path in (tmp_path / "w").iterdir())
    assert folders == ["0000017", "0000054"]
    assert len(list((tmp_path / "w" / "0000054").glob("*.jpg"))) == 12
    raw_layouts.write_raw("lfw", tmp_path / "l", people=6, size=64)
    first, *lines = (tmp_path / "l" / "pairs.txt").read_text().splitlines()
    assert first == "1\t30"
    assert [len(line.split("\t")) for line in lines] == [3] * 30 + [4] * 30
    for line in lines:
        words = line.split("\t")
        pair = [(words[0], words[1]), (words[-2] if len(words) == 4 else words[0], words[-1])]
        for name, number in pair:
            assert (tmp_path / "l" / "lfw" / name / f"{name}_{int(number):04d}.jpg").is_file()


def test_dlib_finds_the_face_in_a_raw_picture(tmp_path):
    raw_layouts.write_raw("lfw", tmp_path, people=1)
    detector = faces.DlibDetector()
    found = [detector(faces.read_image(path)) for path in sorted(tmp_path.glob("lfw/*/*.jpg"))]
    assert sum(points is not None for points in found) >= 5


def test_errors_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="unknown layout 'cohn'; known: bp4d"):
        raw_layouts.write_raw("cohn", tmp_path)
    with pytest.raises(ValueError, match="no person named 'F099'"):
        raw_layouts.write_raw("bp4d", tmp_path, people=["F099"])
    with pytest.raises(FileNotFoundError, match="python -m data_builders.prepare"):
        checks.ridge(tmp_path)
    assert str(builders.Builder.VERSION) == truth.VERSION
