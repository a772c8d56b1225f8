"""What TFDS's own ``DatasetBuilderTestCase`` checks of a builder, over its dummy data and without TensorFlow."""

import collections
import hashlib
import importlib
import itertools
import json
import pathlib
import socket
import sys
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders import landmarks, prepare, schema
from data_builders.synthetic_faces import dummy_data
from piapdf_jax import faces, records
from piapdf_jax.action_units import RECORD_AUS

BUILDERS = pathlib.Path(prepare.__file__).parent
UNIT_SPLITS = {f"part{part}{kind}": 2 for part in (1, 2, 3) for kind in ("", "_uncoded")}
#: Records by split that the dummy data make.
SIZES = {
    "bp4d": UNIT_SPLITS,
    "disfa": {"part1": 3, "part2": 3, "part3": 3},
    "afew_va": {"train": 3, "test": 3},
    "casia_webface": {"train": 6},
    "lfw_pairs": {"test": 12},
    "own": UNIT_SPLITS,
}


class Built(NamedTuple):
    name: str
    folder: pathlib.Path
    dummy: pathlib.Path
    keys: dict[str, list[str]]
    connections: list


def builder_class(name):
    return importlib.import_module(prepare.BUILDERS[name]).Builder


@pytest.fixture(scope="module", params=sorted(SIZES))
def built(request, tmp_path_factory):
    name, keys, connections = request.param, collections.defaultdict(list), []
    cls = builder_class(name)
    generators = cls._split_generators

    def recorded(self, dl_manager):
        def noting(split, examples):
            for key, example in examples:
                keys[split].append(key)
                yield key, example

        return {split: noting(split, made) for split, made in generators(self, dl_manager).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "_split_generators", recorded)
        patch.setattr(socket.socket, "connect", lambda _, where: connections.append(where))
        for way in ("download", "download_and_extract", "extract", "download_kaggle_data"):
            patch.setattr(tfds.download.DownloadManager, way, lambda *_: pytest.fail("downloads"))
        dummy = BUILDERS / name / "dummy_data"
        loaded = "tensorflow" in sys.modules
        folder = prepare.prepare(
            name, data_dir=tmp_path_factory.mktemp(name), manual_dir=dummy, workers=1
        )
        assert ("tensorflow" in sys.modules) == loaded
    return Built(name, folder, dummy, dict(keys), connections)


def test_every_builder_but_the_drawing_one_has_dummy_data():
    assert SIZES.keys() | {"synthetic_faces"} == prepare.BUILDERS.keys()
    assert SIZES.keys() == dummy_data.TREES.keys()


def test_builder_is_registered_and_built_where_its_name_says(built):
    cls = builder_class(built.name)
    assert issubclass(cls, tfds.core.GeneratorBasedBuilder) and cls.name == built.name
    assert tfds.builder_cls(built.name) is cls
    made = cls(data_dir=built.folder.parents[1])
    assert made.info.name == built.name and pathlib.Path(made.data_dir) == built.folder
    assert built.folder.name == str(cls.VERSION) in cls.RELEASE_NOTES


def test_nothing_is_downloaded_and_the_instructions_say_where_files_go(built):
    cls = builder_class(built.name)
    assert not built.connections and not cls.url_infos
    assert "--manual_dir" in cls.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert not list(built.folder.parents[1].glob(".cache/downloads/**/*.*"))


def test_the_detector_of_the_build_is_dlib(built):
    cls = builder_class(built.name)
    assert getattr(cls, "detector", faces.DlibDetector) is faces.DlibDetector
    for path in built.folder.parents[1].glob(".cache/landmarks/*/*/*.npz"):
        assert path.parent.name.startswith("dlib-")
        with np.load(path) as stored:
            assert (stored["origin"] == landmarks.FOUND).all()


def test_readme_citation_and_tags(built):
    metadata = builder_class(built.name).get_metadata()
    info = tfds.builder_from_directory(built.folder).info
    folder = BUILDERS / built.name
    assert info.description.strip() == (folder / "README.md").read_text().strip() != ""
    assert info.citation.strip() == (folder / "CITATIONS.bib").read_text().strip()
    assert info.citation.lstrip().startswith("@") and "year" in info.citation
    valid = tfds.core.dataset_metadata.valid_tags()
    assert set(metadata.tags) <= set(valid)


def test_nothing_of_the_dummy_data_is_left_out(built):
    metadata = json.loads((built.folder / "metadata.json").read_text())
    assert metadata["skipped"] == {} and all(n >= 0 for n in metadata["read"].values())


#: Units that each data set's coders wrote down and a record can hold: BP4D's 12; of DISFA's 12 those
#: that have a column (its AU 5 and 20 have none).
UNITS = {
    "bp4d": [1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24],
    "disfa": [1, 2, 4, 6, 9, 12, 15, 17, 25, 26],
    "own": [1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24],
}


def test_the_metadata_name_units_and_people(built):
    metadata = json.loads((built.folder / "metadata.json").read_text())
    reloaded, coded = tfds.builder_from_directory(built.folder), set()
    assert metadata["kind"] == ""
    assert metadata["people"].keys() == SIZES[built.name].keys()
    for split, people in metadata["people"].items():
        rows = list(reloaded.as_data_source(split))
        key = "subject" if "subject" in rows[0] else "name"
        assert people == sorted({row[key].decode() for row in rows})
        for row in rows:
            known = np.flatnonzero(row["labels"] >= 0) if "labels" in row else []
            coded |= {RECORD_AUS[column] for column in known}
    assert metadata["action_units"] == sorted(coded)
    assert set(coded) <= set(UNITS.get(built.name, ()))


def test_splits_hold_what_is_expected(built):
    reloaded = tfds.builder_from_directory(built.folder)
    sizes = {split: info.num_examples for split, info in reloaded.info.splits.items()}
    assert sizes == SIZES[built.name]
    assert {split: len(keys) for split, keys in built.keys.items()} == sizes
    for split, size in sizes.items():
        assert len(reloaded.as_data_source(split)) == size


def test_features_are_those_of_every_example(built):
    reloaded = tfds.builder_from_directory(built.folder)
    features = reloaded.info.features
    units = "labels" in features
    assert set(features) == set(records.AU_FEATURES if units else records.IDENTITY_FEATURES)
    for split in SIZES[built.name]:
        for example in reloaded.as_data_source(split):
            assert example.keys() == features.keys()
            for key, feature in features.items():
                if isinstance(feature, tfds.features.Text):
                    assert isinstance(example[key], bytes) and example[key].decode().isprintable()
                    continue
                value = np.asarray(example[key])
                assert (value.shape, value.dtype) == (feature.shape, feature.np_dtype), key


def test_no_example_is_in_two_splits_or_twice(built):
    for one, two in itertools.combinations(built.keys.values(), 2):
        assert not set(one) & set(two)
    reloaded, seen = tfds.builder_from_directory(built.folder), set()
    for split, keys in built.keys.items():
        assert len(set(keys)) == len(keys)
        assert not [key for key in keys if "/" in key or str(built.dummy) in key]
        for example in reloaded.as_data_source(split):
            parts = [np.asarray(example[key]).tobytes() for key in sorted(example)]
            digest = hashlib.sha256(b"".join(parts)).hexdigest()
            assert digest not in seen
            seen.add(digest)
    assert len(seen) == sum(SIZES[built.name].values())


def test_reloading_gives_the_same_info(built):
    cls = builder_class(built.name)
    from_class, from_folder = (
        cls(data_dir=built.folder.parents[1]),
        tfds.builder_from_directory(built.folder),
    )
    one, two = from_class.info, from_folder.info
    # A class leaves out the empty note on redistribution that a file spells out.
    told = [json.loads(info.as_json) | {"redistributionInfo": {}} for info in (one, two)]
    assert told[0] == told[1]
    assert one.features.to_json() == two.features.to_json()
    assert dict(one.metadata or {}) == dict(two.metadata or {}) != {}
    for split in SIZES[built.name]:
        assert one.splits[split].shard_lengths == two.splits[split].shard_lengths
        for a, b in zip(
            from_class.as_data_source(split), from_folder.as_data_source(split), strict=True
        ):
            np.testing.assert_equal(a, b)


@pytest.mark.parametrize("name", sorted(prepare.BUILDERS))
def test_configs_are_named_once_described_and_constructible(name, tmp_path):
    cls = builder_class(name)
    names = [config.name for config in cls.BUILDER_CONFIGS]
    assert len(set(names)) == len(names) and bool(names) == (name == "synthetic_faces")
    assert all(config.description for config in cls.BUILDER_CONFIGS)
    for config in names or [None]:
        made = cls(data_dir=tmp_path, config=config)
        known = (schema.au_features().keys(), schema.identity_features().keys())
        assert made.info.features.keys() in known


@pytest.mark.parametrize("name", sorted(SIZES))
def test_dummy_data_are_what_the_command_draws(name, tmp_path):
    """Codecs and compilers may differ in a gray value, so pictures are compared by their pixels."""
    kept = BUILDERS / name / "dummy_data"
    drawn = dummy_data.write_dummy_data(name, tmp_path / "drawn")
    listed = [
        {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        for root in (kept, drawn)
    ]
    assert listed[0] == listed[1]
    assert sum((kept / path).stat().st_size for path in listed[0]) < 300_000
    for path in listed[0]:
        if path.endswith((".csv", ".txt")):
            assert (kept / path).read_text() == (drawn / path).read_text()
        elif path.endswith(".json"):
            one, two = (json.loads((root / path).read_text()) for root in (kept, drawn))
            assert one["actor"] == two["actor"] and one["frames"].keys() == two["frames"].keys()
            for frame, told in one["frames"].items():
                points = two["frames"][frame]["landmarks"]
                np.testing.assert_allclose(told["landmarks"], points, atol=0.05)
        else:
            one, two = (faces.read_image(root / path).astype(float) for root in (kept, drawn))
            assert np.abs(one - two).mean() < 1
