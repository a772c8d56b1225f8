"""Trees as they lie on people's disks: a folder too deep, still packed, with what systems leave there."""

import pathlib
import shutil
import tarfile

import pytest
from test_faults import NAMES, ONE, OTHER, PICTURE, build, dummy, fails, skipped, total, write_pairs

from data_builders import folders, prepare
from data_builders.fault_report import FaultReport
from data_builders.lfw_pairs import raw

#: Folder of each tree that a copy may hold once more, or in a folder of another name.
INNER = {"lfw_pairs": "lfw", "casia_webface": "CASIA-WebFace"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """How many records the untouched dummy data make, and the shards."""
    made = {}
    for name in NAMES:
        manual = dummy(name, tmp_path_factory.mktemp(name) / "manual")
        made[name] = total(build(name, manual, tmp_path_factory.mktemp(name)))
    return made


def shards(built):
    return {
        path.name: path.read_bytes()
        for path in pathlib.Path(built.data_dir).glob("*.array_record*")
    }


def litter(manual):
    """What macOS, Windows, a network disk and version control leave in a tree: copies of its names, without content."""
    real = [path for path in manual.rglob("*") if path.is_file()]
    for path in real:
        below = path.relative_to(manual)
        for copy in (
            manual / "__MACOSX" / below.with_name(f"._{below.name}"),
            path.parent / "@eaDir" / path.name / "SYNOFILE_THUMB_M.jpg",
            manual / ".git" / below,
            manual / "$RECYCLE.BIN" / below,
        ):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(b"\0\5\x16\7 Mac OS X")
    for folder in {path.parent for path in real if path.suffix in (".json", ".txt", ".csv")}:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (manual / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


@pytest.mark.parametrize("name", NAMES)
def test_what_systems_leave_behind_is_not_the_data_set(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    litter(manual)
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] and not skipped(built)


@pytest.mark.parametrize("outer", ["copy", "downloads/archive"])
@pytest.mark.parametrize("name", NAMES)
def test_trees_one_and_two_folders_deeper(name, outer, whole, tmp_path):
    dummy(name, tmp_path / "manual" / outer)
    built = build(name, tmp_path / "manual", tmp_path / "data")
    assert total(built) == whole[name] and not skipped(built)


@pytest.mark.parametrize(
    "inner", ["{}/{}", "lfw-deepfunneled/lfw-deepfunneled", "archive/{}/{}", "some name"]
)
@pytest.mark.parametrize("name", INNER)
def test_people_a_folder_deeper_as_downloads_pack_them(name, inner, whole, tmp_path):
    if name == "casia_webface":
        inner = inner.replace("lfw-deepfunneled", "casia-webface")
    people = tmp_path / "manual" / inner.format(INNER[name], INNER[name])
    dummy(name, tmp_path / "dummy")
    shutil.copytree(
        tmp_path / "dummy" / "lfw" if name == "lfw_pairs" else tmp_path / "dummy", people
    )
    for path in (tmp_path / "dummy").glob("*.txt"):
        shutil.move(path, tmp_path / "manual" / path.name)
        (people / path.name).unlink(missing_ok=True)
    (tmp_path / "manual" / "list.csv").write_text("name,images\n")
    built = build(name, tmp_path / "manual", tmp_path / "data")
    assert total(built) == whole[name] and not skipped(built)


def test_the_folder_with_a_known_name_is_taken(tmp_path):
    for path in ("lfw_funneled/A/1.jpg", "x/LFW/A/1.jpg", "drawings/A/1.jpg", "figure/1.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"")
    names = ("lfw", "lfw_funneled")
    assert folders.people_folder(tmp_path, names) == tmp_path / "x" / "LFW"
    shutil.rmtree(tmp_path / "x")
    assert folders.people_folder(tmp_path, names) == tmp_path / "lfw_funneled"
    shutil.rmtree(tmp_path / "lfw_funneled")
    assert folders.people_folder(tmp_path, names) == tmp_path  # of the person called figure


def test_which_of_two_recordings_is_not_guessed(tmp_path):
    for part in ("part1", "part2"):
        dummy("own", tmp_path / "manual" / part)
    fails("own", tmp_path / "manual", tmp_path / "data", "part1 and in", "part2: give one")


def test_people_in_two_folders_are_not_guessed(tmp_path):
    for part in ("part1", "part2"):
        dummy("casia_webface", tmp_path / "manual" / part)
    fails(
        "casia_webface", tmp_path / "manual", tmp_path / "data", "part1 and in", "part2: give one"
    )


def test_lfw_is_not_taken_for_casia_webface(tmp_path):
    """Else Encoder P would learn the people on whom it is verified."""
    manual = dummy("lfw_pairs", tmp_path / "manual")
    shutil.move(manual / "lfw", manual / "a" / "lfw-deepfunneled")
    fails("casia_webface", manual, tmp_path / "data", "lfw-deepfunneled holds LFW")


@pytest.mark.parametrize("suffix", ["zip", "tar.gz", "tgz", "7z.001", "rar", "ZIP"])
@pytest.mark.parametrize("name", NAMES)
def test_an_archive_given_as_the_folder(name, suffix, tmp_path):
    archive = tmp_path / f"files.{suffix}"
    archive.write_bytes(b"PK")
    said = f"--manual_dir {archive} is a file, no folder; {archive} is packed: unpack it first"
    fails(name, archive, tmp_path / "data", said)
    fails(name, tmp_path / "files", tmp_path / "data", f"files does not exist; {archive} is packed")


def test_another_file_given_as_the_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    fails("bp4d", tmp_path / "notes.txt", tmp_path / "data", "notes.txt is a file, no folder. BP4D")


PACKED = {
    "bp4d": ("2D+3D", "AUCoding"),
    "disfa": ("Images", "ActionUnit_Labels"),
    "afew_va": ("",),
    "casia_webface": ("",),
    "own": ("",),
    "lfw_pairs": ("lfw",),
}


@pytest.mark.parametrize(
    ("name", "part"), [(n, part) for n, parts in PACKED.items() for part in parts]
)
def test_a_part_that_is_still_packed(name, part, tmp_path):
    """As after ``tar czf Images.tar.gz Images``, with a note beside it."""
    manual = dummy(name, tmp_path / "manual")
    source = manual / part
    packed = tmp_path / f"{part or 'all'}.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(source, part or "all")
    shutil.rmtree(source)
    manual.mkdir(exist_ok=True)
    (manual / "README.txt").write_text("")
    shutil.move(packed, manual)
    fails(name, manual, tmp_path / "data", f"{manual / packed.name} is packed: unpack it first")


def test_pictures_of_mxnet_are_no_pictures(tmp_path):
    """As copies of CASIA-WebFace for ArcFace are packed."""
    folder = tmp_path / "manual" / "faces_webface_112x112"
    folder.mkdir(parents=True)
    for name in ("train.rec", "train.idx", "property", "lfw.bin"):
        (folder / name).write_bytes(b"\x0a\x23\xd7\xce")
    fails(
        "casia_webface",
        tmp_path / "manual",
        tmp_path / "data",
        "train.rec is RecordIO of MXNet, not pictures",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{ONE}\t1\t9", f"line 3: pairs.txt names picture 9 of {ONE}, which does not exist: its folder holds"),
        (f"{ONE}\t1\t{ONE[:-1]}\t1", f"has no folder of that name with pictures; did you mean '{ONE}'?"),
        (f"{ONE.upper()}\t1\t{OTHER}\t1", f"picture 1 of {ONE.upper()}, which does not exist: "),
        (f"{ONE.upper()}\t1\t{OTHER}\t1", f"did you mean '{ONE}'?"),
        (f"{ONE}\t1\tXq\t1", "has no folder of that name with pictures"),
        (f"{ONE}\t1\tEmpty\t1", "has no folder of that name with pictures"),
    ],
)  # fmt: skip
def test_a_picture_that_pairs_name_is_missing_for_a_reason(line, said, tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    (manual / "lfw" / "Empty").mkdir()
    write_pairs(manual, f"{ONE}\t1\t2", line)
    fails("lfw_pairs", manual, tmp_path / "data", said, str(manual / "pairs.txt"))


def test_pairs_written_on_other_systems(tmp_path):
    text = f"1\t1\n{ONE}\t1\t2\n{ONE}\t1\t{OTHER}\t1\n"
    (tmp_path / "pairs.txt").write_text(text)
    expected = raw.read_pairs(tmp_path / "pairs.txt")
    for content in (text.replace("\n", "\r\n"), "\ufeff" + text, text.replace("\n", "\r")):
        (tmp_path / "pairs.txt").write_bytes(content.encode())
        assert raw.read_pairs(tmp_path / "pairs.txt") == expected


def test_other_lists_than_pairs_of_view_2_are_told_apart(tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    (manual / "pairs.txt").rename(manual / "pairs.csv")
    fails(
        "lfw_pairs",
        manual,
        tmp_path / "data",
        "pairs.txt does not exist",
        "pairs.csv is another list",
    )
    (manual / "pairs.txt").write_text(f"1\n{ONE}\t1\t2\n{ONE}\t1\t{OTHER}\t1\n")
    fails(
        "lfw_pairs",
        manual,
        tmp_path / "data",
        "pairs.txt, line 1",
        "'1'; a number alone begins the lists of view 1",
    )


def test_names_of_people_to_leave_out_lie_on_the_way_to_them(whole, tmp_path):
    dummy("casia_webface", tmp_path / "manual" / "a" / "CASIA-WebFace")
    (tmp_path / "manual" / "a" / "exclude.txt").write_text("0000017\n")
    built = build("casia_webface", tmp_path / "manual", tmp_path / "data")
    assert total(built) == whole["casia_webface"] - 3


def test_pictures_of_the_dummy_data_are_where_these_tests_think(tmp_path):
    for name in NAMES:
        assert (dummy(name, tmp_path / name) / PICTURE[name]).is_file()
    assert prepare.BUILDERS.keys() >= set(NAMES) and not FaultReport().counts


#: Where an archive may lie that was left packed while the others were unpacked.
AMONG = {
    "bp4d": "2D+3D/F005",
    "disfa": "SN002",
    "afew_va": "12",
    "casia_webface": "0000099",
    "lfw_pairs": "lfw/Z",
    "own": "pictures/F001/more",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_among_files_that_are_read_is_counted(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    (manual / f"{AMONG[name]}.zip").write_bytes(b"PK\3\4")
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name]
    (case,) = skipped(built)["archive, of which nothing is read"]
    assert f"{AMONG[name]}.zip".endswith(case) and len(skipped(built)) == 1


def test_participants_whose_tasks_are_packed(tmp_path):
    manual = dummy("bp4d", tmp_path / "manual")
    for folder in sorted((manual / "2D+3D").iterdir()):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "T1.zip").write_bytes(b"PK\3\4")
    fails("bp4d", manual, tmp_path / "data", "no folder T1 ... T8", "F001/T1.zip is packed")
