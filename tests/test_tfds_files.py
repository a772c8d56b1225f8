"""Folders of data sets made to trouble: TFDS never gets to believe what they say."""

import json
import shutil
import sys

import pytest
import tensorflow_datasets as tfds

from data_builders import prepare, schema, validate
from data_builders.afew_va import afew_va_dataset_builder
from piapdf_jax import tfds_files
from piapdf_jax.data import source

MANUAL = afew_va_dataset_builder.__file__.rpartition("/")[0] + "/dummy_data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return prepare.prepare("afew_va", data_dir=tmp_path_factory.mktemp("d"), manual_dir=MANUAL)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "tfds" / "afew_va" / "1.0.0")


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """What importing the module ``hostile_features`` makes, and what must not come to be."""
    path = tmp_path / "mark"
    (tmp_path / "hostile_features.py").write_text(f"open({str(path)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    assert "hostile_features" not in sys.modules and not path.exists()


def rewrite(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def refused(folder, *parts):
    for read in (lambda: source.Records(folder, "train"), lambda: source.split_sizes(folder)):
        with pytest.raises(source.CorruptShard) as told:
            read()
        for part in (str(folder), *parts):
            assert part in str(told.value)


def test_folders_as_they_are_built_are_let_through(folder, tmp_path):
    assert tfds_files.validate_tfds_dir(folder) == folder
    assert len(source.Records(folder, "train")) == source.split_sizes(folder)["train"] == 3
    (tmp_path / "linked").symlink_to(folder)
    assert len(source.Records(tmp_path / "linked", "train")) == 3


def test_the_classes_let_through_are_those_of_the_schema():
    used = set()
    for features in (schema.au_features(), schema.identity_features()):
        told = [features.to_proto()]
        while told:
            feature = told.pop()
            used.add(feature.python_class_name)
            told += feature.features_dict.features.values()
    assert used == tfds_files.FEATURE_CLASSES


def in_its_place(content):
    content["featuresDict"]["features"]["task"]["pythonClassName"] = "hostile_features.Text"


def on_top(content):
    content["pythonClassName"] = "hostile_features.FeaturesDict"


def older_form(content):
    return {"type": "hostile_features.FeaturesDict", "content": {}}


def other_spelling(content):
    feature = content["featuresDict"]["features"]["task"]
    feature["python_class_name"] = "hostile_features.Text"
    del feature["pythonClassName"]


def as_text(content):
    inner = {"x": {"type": "hostile_features.Text", "content": {}}}
    return {
        "pythonClassName": content["pythonClassName"],
        "jsonFeature": {"json": json.dumps(inner)},
    }


@pytest.mark.parametrize("change", [in_its_place, on_top, older_form, other_spelling, as_text])
def test_modules_that_features_name_are_not_imported(folder, mark, change):
    rewrite(folder / "features.json", change)
    refused(folder, "features.json")


@pytest.mark.parametrize("change", [in_its_place, on_top, older_form, other_spelling, as_text])
def test_tfds_by_itself_imports_them(folder, tmp_path, monkeypatch, change):
    (tmp_path / "foreign_features.py").write_text("raise LookupError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(folder / "features.json", change)
    text = (folder / "features.json").read_text()
    (folder / "features.json").write_text(text.replace("hostile_f", "foreign_f"))
    with pytest.raises(LookupError, match="imported"):
        tfds.builder_from_directory(folder)


def test_features_in_the_description_are_not_read(folder, mark):
    feature = {"pythonClassName": "hostile_features.Text", "text": {}}
    rewrite(folder / "dataset_info.json", lambda content: {**content, "features": feature})
    refused(folder, "dataset_info.json", "'features'")


def test_the_module_that_the_description_names_is_not_imported(folder, mark):
    rewrite(folder / "dataset_info.json", lambda c: {**c, "moduleName": "hostile_features.builder"})
    assert len(source.Records(folder, "train")) == 3


def template(content):
    content["splits"][0]["filepathTemplate"] = "../elsewhere/{DATASET}-{SPLIT}.{FILEFORMAT}"


def other_template(content):
    content["splits"][0]["filepath_template"] = "../elsewhere/{DATASET}-{SPLIT}.{FILEFORMAT}"
    del content["splits"][0]["filepathTemplate"]


def name(content):
    content["name"] = "../elsewhere/afew_va"


def split(content):
    content["splits"][0]["name"] = "../../elsewhere/train"


def file_format(content):
    content["fileFormat"] = "tfrecord"


def more_formats(content):
    content["alternativeFileFormats"] = ["parquet"]


@pytest.mark.parametrize(
    "change", [template, other_template, name, split, file_format, more_formats]
)
def test_shards_outside_the_folder_are_not_opened(folder, change):
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    for path in folder.glob("*train*"):
        shutil.copy(path, outside / "afew_va-train.array_record")
        shutil.copy(path, outside / path.name)
    rewrite(folder / "dataset_info.json", change)
    refused(folder, "dataset_info.json")


def test_tfds_by_itself_opens_them(folder):
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (shard,) = folder.glob("*train*")
    shard.rename(outside / "afew_va-train.array_record")
    rewrite(folder / "dataset_info.json", template)
    assert tfds.builder_from_directory(folder).as_data_source("train")[0]


def test_links_to_shards_outside_are_not_followed(folder):
    (shard,) = folder.glob("*train*")
    outside = folder.parent / shard.name
    shard.rename(outside)
    shard.symlink_to(outside)
    refused(folder, str(outside), "link the whole folder")


def test_features_whose_names_are_paths_are_refused(folder):
    def rename(content):
        features = content["featuresDict"]["features"]
        features["../../task"] = features.pop("task")

    rewrite(folder / "features.json", rename)
    refused(folder, "features.json names '../../task'")


@pytest.mark.parametrize("content", ["", "[]", "null", "[" * 100_000, '{"name": []}'])
@pytest.mark.parametrize("file", ["features.json", "dataset_info.json"])
def test_files_of_another_shape_are_named(folder, file, content):
    (folder / file).write_text(content)
    refused(folder, file)


def test_builders_do_not_believe_a_folder_either(folder, mark):
    data = folder.parent.parent
    rewrite(folder / "features.json", in_its_place)
    with pytest.raises(ValueError, match=r"features\.json names 'hostile_features\.Text'"):
        validate.validate("afew_va", data)
