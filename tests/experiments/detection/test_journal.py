import pytest

from experiments.detection.journal import Journal, Progress
from experiments.detection.rows import Row

START = {"tracker": {"next": 0, "faces": []}}


def row(frame, name="a.mp4"):
    if frame % 3 == 0:
        return Row(name, frame, frame / 25, reason="no_face")
    box = (1.5, 2.25, 30.0, 40.0)
    return Row(name, frame, frame / 25, 0, 0.9, "", box, -3.25, (1.0, 0.0, -1.0, 2.0), (0.25, 1.0))


def blocks(folder, count, fingerprint="f"):
    journal = Journal(folder, "film", fingerprint)
    journal.open(START)
    for k in range(count):
        journal.append(k, [row(2 * k), row(2 * k + 1)], {"k": k})
    journal.close()
    return journal


def test_rows_come_back_as_they_were(tmp_path):
    journal = blocks(tmp_path, 3)
    assert list(journal.rows()) == [row(k) for k in range(6)]
    assert journal.open(START) == Progress(3, {"k": 2})
    journal.delete()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", range(0, 700, 7))
def test_wherever_the_file_ends_whole_blocks_remain(tmp_path, lost):
    journal = blocks(tmp_path, 3)
    path = journal.folder / "rows.jsonl"
    data = path.read_bytes()
    kept = data[: max(0, len(data) - lost)]
    path.write_bytes(kept)
    progress = journal.open(START)
    # What stood before the last newline that ends a block.
    whole = sum(b'"block"' in line for line in kept.split(b"\n")[:-1])
    assert progress == Progress(whole, {"k": whole - 1} if whole else START)
    assert list(journal.rows()) == [row(k) for k in range(2 * whole)]
    for k in range(whole, 3):
        journal.append(k, [row(2 * k), row(2 * k + 1)], {"k": k})
    journal.close()
    assert path.read_bytes() == data


def test_a_block_with_damage_inside_and_all_after_it_are_made_again(tmp_path):
    journal = blocks(tmp_path, 3)
    path = journal.folder / "rows.jsonl"
    lines = path.read_bytes().split(b"\n")
    # A digit of the second block's first row: the line is JSON still.
    lines[3] = lines[3].replace(b"0.9", b"0.8")
    path.write_bytes(b"\n".join(lines))
    assert journal.open(START) == Progress(1, {"k": 0})
    assert list(journal.rows()) == [row(0), row(1)]
    journal.close()


def test_rows_of_another_fingerprint_are_not_gone_on_with(tmp_path):
    blocks(tmp_path, 3)
    other = Journal(tmp_path, "film", "another")
    assert other.open(START) == Progress(0, START)
    assert list(other.rows()) == []
    other.close()


def test_names_of_any_kind(tmp_path):
    names = ['a,"b"\nc.jpg', "\udcff.jpg", "Zoë ☺.jpg"]
    journal = Journal(tmp_path, "film", "f")
    journal.open(START)
    journal.append(0, [row(1, name) for name in names], {})
    assert [found.input for found in journal.rows()] == names
    journal.close()


@pytest.mark.parametrize("fingerprint", ["f", "other"])
def test_two_commands_do_not_write_the_same_rows(tmp_path, fingerprint):
    first = Journal(tmp_path, "film", "f")
    first.open(START)
    first.append(0, [row(1)], {"k": 0})
    second = Journal(tmp_path, "film", fingerprint)
    with pytest.raises(BlockingIOError, match="film.detect is in use: another command"):
        second.open(START)
    second.abandon()
    first.append(1, [row(2)], {"k": 1})
    assert list(first.rows()) == [row(1), row(2)]
    first.close()
    assert second.open(START).blocks == (2 if fingerprint == "f" else 0)
    second.close()


@pytest.mark.parametrize("count", [0, 1])
def test_only_rows_are_kept_to_go_on_with(tmp_path, count):
    journal = Journal(tmp_path, "film", "f")
    journal.open(START)
    for k in range(count):
        journal.append(k, [row(k)], {"k": k})
    journal.abandon()
    assert journal.folder.exists() == bool(count)
