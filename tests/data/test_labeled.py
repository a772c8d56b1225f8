"""Which frames keep their labels: nested, spread by person, by a rule that a few lines of NumPy and hashlib repeat."""

import hashlib
import itertools
import pathlib

import numpy as np
import pytest

from piapdf_jax.data import labeled
from piapdf_jax.data.labeled import LabeledFrames

#: By person: task, number of coded frames.
CODED = {"F001": (("T1", 5), ("T2", 3)), "F002": (("T1", 2),), "M001": (("T1", 6), ("T8", 4))}
FRAMES = [
    (subject, task, number)
    for subject, tasks in CODED.items()
    for task, count in tasks
    for number in range(10, 10 + count)
]
#: A frame of M001 without a known label, which can keep none.
NOTHING_KNOWN = FRAMES.index(("M001", "T8", 12))
_FOLDERS = itertools.count()


@pytest.fixture
def folder(monkeypatch):
    """A data set of these frames; another folder each time, because their names are remembered."""

    class Made:
        def __init__(self, folder, split):
            self.split = split

        def table(self):
            labels = np.full((len(FRAMES), 2), -1)
            labels[:, 0] = np.arange(len(FRAMES)) % 2
            labels[NOTHING_KNOWN] = -1
            subjects, tasks, numbers = map(np.array, zip(*FRAMES, strict=True))
            return {"subject": subjects, "task": tasks, "frame": numbers, "labels": labels}

    monkeypatch.setattr(labeled, "Records", Made)
    return pathlib.Path(f"/made/{next(_FOLDERS)}")


def by_person(names):
    return {subject: sum(n.startswith(f"{subject}/") for n in names) for subject in CODED}


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_smaller_number_is_among_a_greater_and_each_person_has_as_many(folder):
    chosen = [LabeledFrames(folder, "train", (), count).names for count in range(1, 20)]
    for few, more in itertools.pairwise(chosen):
        assert more[:-1] == few and more[-1] not in few
    # By hand: 8, 2 and 9 frames have labels; a round gives everybody one, while there are any.
    assert by_person(chosen[2]) == {"F001": 1, "F002": 1, "M001": 1}
    assert by_person(chosen[5]) == {"F001": 2, "F002": 2, "M001": 2}
    assert by_person(chosen[7]) == {"F001": 3, "F002": 2, "M001": 3}
    assert by_person(chosen[18]) == {"F001": 8, "F002": 2, "M001": 9}
    assert "M001/T8/12" not in chosen[18]
    for count, names in enumerate(chosen, 1):
        told = by_person(names)
        assert len(set(names)) == count
        assert abs(told["F001"] - told["M001"]) <= 1


def test_the_first_ones_are_those_of_the_least_hash(folder):
    known = [f for k, f in enumerate(FRAMES) if k != NOTHING_KNOWN]
    first = {
        subject: min((f"{s}/{t}/{n}" for s, t, n in known if s == subject), key=sha)
        for subject in CODED
    }
    found = LabeledFrames(folder, "train", (), 3).names
    assert found == tuple(first[subject] for subject in sorted(CODED, key=sha))
    assert LabeledFrames(folder, "train", (), 3).digest == sha("\n".join(found))[:16]


def test_people_without_labels_to_give_are_not_among_them(folder):
    found = LabeledFrames(folder, "train", ("F001",), 11)
    assert by_person(found.names) == {"F001": 0, "F002": 2, "M001": 9}
    with pytest.raises(ValueError, match="^there are 11 labeled frames$"):
        _ = LabeledFrames(folder, "train", ("F001",), 12).names


def test_rows_are_those_frames_or_all_others(folder):
    chosen = LabeledFrames(folder, "train", (), 7)
    kept = chosen.rows("train", (), (), hide_labels=False)
    rest = chosen.rows("train", (), (), hide_labels=True)
    assert ["/".join(map(str, FRAMES[row])) for row in kept] == sorted(
        chosen.names, key=["/".join(map(str, frame)) for frame in FRAMES].index
    )
    # One that nobody has coded is among the others, whose labels nobody reads.
    assert sorted([*kept, *rest]) == list(range(20)) and NOTHING_KNOWN in rest
    own = chosen.rows("train", ("F001", "F002"), ("F002",), hide_labels=False)
    assert own.tolist() == [row for row in kept if FRAMES[row][0] == "F001"]
    assert chosen.subjects("train", own) == {"F001"}
