"""Where data sets are looked for, and what their fingerprint depends on."""

import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from piapdf_jax.data import description, source


def make(folder, shard=b"records", info="{}"):
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(info)
    (folder / "set-part1.array_record-00000-of-00001").write_bytes(shard)
    return folder


def test_newest_version_is_taken(tmp_path):
    for version in ("1.2.0", "1.10.0", "1.9.3"):
        make(tmp_path / "bp4d" / version)
    assert source.dataset_folder(tmp_path, "bp4d").name == "1.10.0"


@pytest.mark.parametrize(
    "name, told",
    [
        ("bp4d", "python -m data_builders.prepare bp4d --data_dir=.* --manual_dir="),
        ("bp4d", "data_builders/bp4d/README.md"),
        ("synthetic_faces/lfw", "python -m data_builders.prepare synthetic_faces/lfw"),
    ],
)
def test_missing_data_set_names_the_command(tmp_path, name, told):
    with pytest.raises(source.MissingDataset, match=told):
        source.dataset_folder(tmp_path, name)


def test_unfinished_build_is_not_a_data_set(tmp_path):
    (tmp_path / "bp4d" / "1.0.0.incompleteABC").mkdir(parents=True)
    with pytest.raises(source.MissingDataset):
        source.dataset_folder(tmp_path, "bp4d")


def test_fingerprint_is_of_content_and_not_of_place(tmp_path):
    first = description.fingerprint(make(tmp_path / "a" / "1.0.0"))
    assert description.fingerprint(make(tmp_path / "b" / "1.0.0")) == first
    assert description.fingerprint(make(tmp_path / "c" / "1.0.0", shard=b"Records")) != first
    assert description.fingerprint(make(tmp_path / "d" / "1.0.0", info='{"a": 1}')) != first


def test_remembered_checksums_give_the_same_and_notice_a_change(tmp_path):
    folder, cache = make(tmp_path / "a" / "1.0.0"), tmp_path / "cache" / "sums.json"
    first = description.fingerprint(folder, cache=cache)
    assert description.fingerprint(folder, cache=cache) == first == description.fingerprint(folder)
    assert len(json.loads(cache.read_text())) == 1
    (folder / "set-part1.array_record-00000-of-00001").write_bytes(b"longer records")
    assert description.fingerprint(folder, cache=cache) == description.fingerprint(folder) != first


def test_torn_cache_is_made_anew(tmp_path):
    folder, cache = make(tmp_path / "a" / "1.0.0"), tmp_path / "sums.json"
    cache.write_text('{"torn')
    assert description.fingerprint(folder, cache=cache) == description.fingerprint(folder)
    assert json.loads(cache.read_text())


def test_a_run_that_reads_remembered_checksums_while_another_writes_reads_them_whole(tmp_path):
    cache = tmp_path / "sums.json"
    description.fingerprint(make(tmp_path / "a" / "1.0.0"), cache=cache)
    with cache.open() as reading:
        description.fingerprint(make(tmp_path / "b" / "1.0.0"), cache=cache)
        assert len(json.loads(reading.read())) == 1
    assert len(json.loads(cache.read_text())) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "sums.json"]


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"action_units": 3, "people": {}}', '{"action_units": [], "people": []}', "x"],
)
def test_a_data_set_that_says_nothing_of_itself_is_to_be_built_again(tmp_path, text):
    (tmp_path / "dataset_info.json").write_text('{"name": "faces"}')
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(source.MissingDataset, match="delete the folder and build it again"):
        description.describe(tmp_path)


def test_a_data_set_describes_itself(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"name": "faces"}')
    people = '{"part1": ["F1", "F2"], "part2": ["M1"], "part2_uncoded": ["M9"]}'
    told = f'{{"action_units": [1, 12], "people": {people}, "kind": "drawn"}}'
    (tmp_path / "metadata.json").write_text(told)
    found = description.describe(tmp_path)
    assert (found.builder, found.kind, found.action_units) == ("faces", "drawn", (1, 12))
    assert found.people_of("part1+part2") == {"F1", "F2", "M1"}
    assert found.people_of("part2[:50%]") == {"M1"} and found.people_of("part3") == set()


def test_some_rows_are_those_of_the_records_in_their_order():
    class Letters:
        def __getitem__(self, row):
            return {"subject": "abcde"[row]}

        def shard_of(self, row):
            return pathlib.Path(f"shard{row}")

        def table(self):
            return {"subject": np.array(list("abcde"))}

    found = source.SomeRows(Letters(), np.array([4, 0, 2]))
    assert [found[row]["subject"] for row in range(len(found))] == ["e", "a", "c"]
    assert found.shard_of(1) == pathlib.Path("shard0")
    assert found.table()["subject"].tolist() == ["e", "a", "c"]


def test_records_that_arrive_in_another_process_are_opened_at_once(small_data, tmp_path):
    # And not by the first of several reading threads that asks for a row.
    folder = tmp_path / "1.0.0"
    shutil.copytree(small_data / "synthetic_faces" / "small_bp4d" / "1.0.0", folder)
    records = source.Records(folder, "part1")
    sent = pickle.dumps(records)
    arrived = pickle.loads(sent)
    (folder / "features.json").unlink()
    assert arrived[1]["image"] == records[1]["image"]
    with pytest.raises(FileNotFoundError, match="features.json"):
        pickle.loads(sent)


def test_a_data_set_that_was_built_again_is_read_again(small_data, tmp_path):
    """Within one process, which otherwise reads a folder once."""
    folder = shutil.copytree(small_data / "synthetic_faces" / "small_lfw" / "1.1.0", tmp_path / "x")
    assert source.split_sizes(folder) == {"test": 72}  # twelve people, six pictures each
    page = folder / "dataset_info.json"
    told = json.loads(page.read_text())
    told["splits"][0]["shardLengths"] = ["7"]
    page.write_text(json.dumps(told))
    assert source.split_sizes(folder) == {"test": 7}


def test_a_link_that_is_put_among_the_shards_later_is_refused(small_data, tmp_path):
    folder = shutil.copytree(small_data / "synthetic_faces" / "small_lfw" / "1.1.0", tmp_path / "x")
    source.split_sizes(folder)
    (folder / "later").symlink_to(tmp_path)
    with pytest.raises(source.CorruptShard, match="outside its data set"):
        source.split_sizes(folder)
