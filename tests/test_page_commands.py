"""Every command that a page shows: the program itself reads its flags, and what no test runs has its reason here."""

import ast
import pathlib
import re
import shlex

import pytest
from started import ROOT, Command, run

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("*/README.md")),
]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}\S.*\n)+)")
_COMMAND = re.compile(r"(?:[A-Z_0-9]+=\S* )*(?:python3? |\.venv/bin/|pip |make |cd |srun |gcloud )")
_OURS = re.compile(r"python (?:-m )?((?:experiments|data_builders|benchmarks|examples)\S+)(.*)")


def shown(page: pathlib.Path) -> list[str]:
    """The commands of a page, a line each, without comments and quotes that a space does not need."""
    text = page.read_text(encoding="utf-8")
    blocks = [found for found in _BLOCK.findall(text) if found[0] in ("sh", "yaml", "")]
    blocks += [("", re.sub(r"^ {4}", "", block, flags=re.M)) for block in _INDENTED.findall(text)]
    found = []
    for kind, block in blocks:
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        if kind == "yaml":
            lines = re.findall(r'"(python [^"]*)"', block)
        for line in lines:
            # in a block of commands, whatever is none would go untested
            if kind == "sh" or _COMMAND.match(line):
                words = shlex.split(line, comments=True)
                found.append(" ".join(f"'{word}'" if " " in word else word for word in words))
    found = [line for line in found if line and not line.startswith("export ")]
    # flags that may be left out stand in brackets, and settings that the page leaves out are dots
    return [re.sub(r"\[(--\S+)\]", r"\1", line).removesuffix(" ...") for line in found]


SHOWN = sorted({command for page in PAGES for command in shown(page)})
#: What no test has.
DATA = "files of a data set that only its owners hand out"
GPU = "a GPU"
HOSTS = "several hosts, or a cluster"
HOURS = "minutes to hours of a quiet machine"
NETWORK = "a package index"
#: Beginning of commands: the test that runs them, with smaller settings where they take long, or what they
#: need that no test has. The longest beginning that fits counts.
HOW = {
    "make": "tests/test_page_commands.py::test_what_is_made_and_installed_is_there",
    "pip install": NETWORK,
    ".venv/bin/pip install": NETWORK,
    "python3 -m venv": NETWORK,
    ".venv/bin/python -m pytest": HOURS,
    "JAX_ENABLE_X64=1 .venv/bin/python -m pytest": HOURS,
    "cd data_builders/bp4d && tfds build": DATA,
    # builders
    "python -m data_builders.prepare afew_va": DATA,
    "python -m data_builders.prepare bp4d": DATA,
    "python -m data_builders.prepare casia_webface": DATA,
    "python -m data_builders.prepare disfa": DATA,
    "python -m data_builders.prepare lfw_pairs": DATA,
    "python -m data_builders.prepare bp4d --manual_dir=/shared": HOSTS,
    "python -m data_builders.prepare --plugin": "tests/extending/test_walks.py::test_data_set",
    "python -m data_builders.prepare own": (
        "tests/export/test_own_recordings.py::test_the_data_set_holds_what_the_csv_says"
    ),
    "python -m data_builders.prepare synthetic_faces": HOURS,
    "python -m data_builders.validate bp4d": DATA,
    "python -m data_builders.validate own": (
        "tests/export/test_own_recordings.py::test_the_data_set_holds_what_the_csv_says"
    ),
    # the launcher
    ".venv/bin/python -m experiments.piapdf --config=demo": (
        "tests/experiments/test_pipeline.py::test_every_stage_says_what_it_did"
    ),
    "python -m experiments.piapdf --config=bp4d": DATA,
    "python -m experiments.piapdf --config=bp4d_fold1 --coordinator": HOSTS,
    "python -m experiments.piapdf --config=demo --name=own": (
        "tests/export/test_own_recordings.py::test_what_was_trained_tells_the_units_of_the_csv"
    ),
    "python -m experiments.piapdf --config=demo --plugin": (
        "tests/extending/test_walks.py::test_training"
    ),
    "python -m experiments.piapdf --config=demo --plugin=small_net": (
        "tests/extending/test_encoders.py::test_every_stage_has_the_encoder_from_outside"
    ),
    "python -m experiments.piapdf --config=demo --plugin=squares": (
        "tests/extending/test_walks.py::test_data_set"
    ),
    "python -m experiments.piapdf --config=demo --plugin=worst_person": (
        "tests/extending/test_walks.py::test_metric"
    ),
    "python -m experiments.piapdf --config=demo --set methods=baseline,ap,lp": HOURS,
    "python -m experiments.piapdf --config=drawn": HOURS,
    "python -m experiments.piapdf --config=evidence": HOURS,
    "python -m experiments.piapdf --config=landmark_identity": DATA,
    "python -m experiments.piapdf --config=landmark_identity_demo": (
        "tests/experiments/test_landmark_identity.py::test_every_row_is_scored_by_the_protocol"
    ),
    "srun": HOSTS,
    "gcloud": HOSTS,
    # what comes after a training
    "python -m experiments.detect": (
        "tests/export/test_installed.py::test_a_photograph_and_a_file_are_all_that_is_needed"
    ),
    "python -m experiments.detect PHOTO.jpg FILM.mp4 FOLDER camera:0 --out": (
        "tests/experiments/test_detect_without_model.py"
        "::test_whose_it_is_is_said_in_one_line_and_weak_units_in_another"
    ),
    "python -m experiments.detect recordings": (
        "tests/export/test_own_recordings.py::test_the_detector_reads_the_films"
    ),
    "python -m experiments.evidence": (
        "tests/experiments/test_evidence.py::test_the_page_follows_from_what_is_kept_alone"
    ),
    "python -m experiments.export": (
        "tests/export/test_onnx_file.py::test_a_folder_holds_all_that_a_user_needs"
    ),
    "python -m experiments.export EXPORT --out=detector --formats": (
        "tests/litert/test_litert_file.py::test_all_formats_of_one_export"
    ),
    "python -m experiments.export EXPORT --out=small": (
        "tests/export/test_quantized.py::test_the_command_says_what_8_bits_cost"
    ),
    "python -m experiments.export detector --check": (
        "tests/experiments/test_export_formats.py::test_a_folder_is_checked_again"
    ),
    "python -m experiments.judge": "tests/experiments/test_judge.py::test_a_whole_judgment",
    "python -m experiments.score": (
        "tests/experiments/test_score_command.py"
        "::test_the_command_prints_tables_and_writes_scores_and_frames"
    ),
    "python -m experiments.score EXPORT --plugin": (
        "tests/extending/test_encoders.py::test_what_uses_such_an_export_needs_its_plugin"
    ),
    "python -m experiments.ship": (
        "tests/export/test_shipping.py::test_the_folder_has_three_files_that_belong_together"
    ),
    "python -m experiments.status": (
        "tests/experiments/test_status.py::test_one_run_shows_its_trainings"
    ),
    "python -m experiments.status --exports": (
        "tests/experiments/test_export_list.py::test_the_list_names_sizes_users_and_what_can_go"
    ),
    "python -m experiments.status runs/a": (
        "tests/experiments/test_compare_runs.py"
        "::test_scores_stand_side_by_side_with_their_difference"
    ),
    "python -m experiments.tables": (
        "tests/experiments/test_tables.py"
        "::test_the_report_has_each_table_three_times_and_all_numbers"
    ),
    ".venv/bin/python -m experiments.tables": (
        "tests/experiments/test_tables.py"
        "::test_the_report_has_each_table_three_times_and_all_numbers"
    ),
    # feedback alone
    "python -m experiments.feedback_study.faces": (
        "tests/experiments/test_faces_study.py::test_results_hold_every_world_arm_and_seed"
    ),
    "python -m experiments.feedback_study.points": (
        "tests/experiments/test_points_study.py"
        "::test_rows_are_of_the_seeds_and_the_table_says_what_they_hold"
    ),
    "python examples/two_moons.py": (
        "tests/export/test_installed.py::test_the_two_moons_run_in_a_folder_that_holds_nothing_else"
    ),
    # benchmarks
    "python -m benchmarks": HOURS,
    "python -m benchmarks.exports": (
        "tests/experiments/test_exports_benchmark.py::test_a_row_is_a_file_in_a_runtime"
    ),
    "python -m benchmarks.feedback": (
        "tests/benchmarks/test_feedback_benchmark.py::test_our_ways_run"
    ),
    "python -m benchmarks.reading --data_dir": DATA,
    "python -m benchmarks.scaling": (
        "tests/benchmarks/test_scaling.py::test_the_page_shows_what_the_command_prints"
    ),
    "python tests/benchmarks/compiled_step.py nano 32": (
        "tests/benchmarks/test_scaling.py::test_xla_agrees_with_the_prediction"
    ),
    "JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=8 PYTHONPATH=. python tests/benchmarks/compiled_step.py": (
        "tests/benchmarks/test_scaling.py::test_xla_agrees_with_the_prediction"
    ),
    "python tests/benchmarks/compiled_step.py b1": HOURS,
    "python -m benchmarks.speed": "tests/benchmarks/test_speed.py::test_our_side_runs",
    "python -m benchmarks.speed --cases": HOURS,
    "python -m benchmarks.speed --first_step": (
        "tests/benchmarks/test_speed.py::test_a_first_step_is_timed"
    ),
    "python -m benchmarks.speed --gpu": GPU,
    "python -m benchmarks.scaling --help": (
        "tests/test_command_lines.py::test_help_is_given_and_ends_well"
    ),
    "python -m benchmarks.unet": (
        "tests/benchmarks/test_unet.py::test_cost_beside_the_plain_network"
    ),
}


def fitting(command: str) -> list[str]:
    """Beginnings that a command has, the longest first."""
    return sorted((begin for begin in HOW if command.startswith(begin)), key=len, reverse=True)


def arguments_of(command: str) -> tuple[str, ...] | None:
    """Module and arguments of a program of ours, so that it reads them and does nothing; None for others."""
    found = _OURS.search(command)
    if not found or found[1].endswith(".py"):
        return None
    module, rest = found[1], re.sub(r"\$\w+", "0", found[2])
    if rest.count("'") % 2:  # a command within the quotes of another
        rest = rest.removesuffix("'")
    words = [word for word in shlex.split(rest) if word != "--print_config"]
    # what a plugin adds is there where its file is
    alone = module == "experiments.piapdf" and "--plugin" not in found[2]
    return module, *words, "--print_config" if alone else "--only_check_args"


READ = sorted({found for found in map(arguments_of, SHOWN) if found})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    here = tmp_path_factory.mktemp("here")
    own = {"HOME": str(here), "TFDS_DATA_DIR": "", "JAX_COMPILATION_CACHE_DIR": ""}
    commands = [Command(module, tuple(words), here, own) for module, *words in READ]
    return dict(zip(READ, run(commands, tmp_path_factory.mktemp("told")), strict=True))


@pytest.mark.parametrize("command", READ, ids=" ".join)
def test_flags_and_settings_are_read(done, command):
    code, out, err = done[command]
    assert code == 0, err
    assert ("--print_config" in command) == out.startswith("{")


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_is_run_by_a_test_or_says_what_it_needs(command):
    assert _COMMAND.match(command), "no command; mark the block by another language than sh"
    assert fitting(command), f"{command} is in no list: name its test, or what it needs"


def test_no_list_names_what_is_not_there():
    assert {fitting(command)[0] for command in SHOWN if fitting(command)} == set(HOW)
    for how in HOW.values():
        path, _, name = how.partition("::")
        if name:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            assert name in {getattr(node, "name", "") for node in tree.body}, how


def test_what_is_made_and_installed_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    made = [line.split()[1] for line in SHOWN if line.startswith("make ")]
    extras = [
        extra
        for line in SHOWN
        for found in re.findall(r"-e \.\[(.*)\]", line)
        for extra in found.split(",")
    ]
    assert {"demo", "test"} <= set(made) and {"test", "cuda12", "tpu"} <= set(extras)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in made)
    assert all(f"\n{extra} =\n" in setup for extra in extras)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```sh\npython -m a.b  # why\n```\n", ["python -m a.b"]),
        ("```sh\npython -m a.b \\\n    --x='1 2' ...\n```\n", ["python -m a.b '--x=1 2'"]),
        ("```\nno command\npip install x\n```\n", ["pip install x"]),
        ("```python\nx = 1\n```\n\ntext\n\n```sh\nmake y\n```\n", ["make y"]),
        ("text\n\n    python x.py [--y]\n\ntext\n", ["python x.py --y"]),
        ("```sh\nexport A=b\nlost $x\n```\n", ["lost $x"]),
        ('```yaml\na: ["python -m a.b --x"]\n```\n', ["python -m a.b --x"]),
    ],
)
def test_commands_are_found_as_pages_show_them(tmp_path, text, found):
    (tmp_path / "page.md").write_text(text)
    assert shown(tmp_path / "page.md") == found
