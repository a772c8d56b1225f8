"""Compares a data set that was built with the published counts, or with what must hold of any.

python -m data_builders.validate bp4d --data_dir=SHARDS
python -m data_builders.validate own --data_dir=SHARDS

Exits with 0 where all numbers agree, 1 where one differs, 2 where there is nothing to compare.
"""

import collections
import importlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from absl import flags, logging

from data_builders import published_counts
from data_builders.built import Line, coded_table, columns, uncoded_lines
from data_builders.own import check as own_check
from data_builders.prepare import BUILDERS, UsageError
from piapdf_jax import command_line, commands, paths
from piapdf_jax.action_units import UNKNOWN, record_columns
from piapdf_jax.tfds_files import validate_tfds_dir

#: Data sets with coded frames, whose every record is compared.
COUNTS = {"bp4d": published_counts.BP4D_COUNTS, "disfa": published_counts.DISFA_COUNTS}
#: Counts of one's own recordings nobody has published: of them what must hold of any is checked.
NAMES = (*COUNTS, *published_counts.SIZES, "own")


def validate(name: str, data_dir: str | os.PathLike[str]) -> list[Line]:
    """Counts a data set that was built, and looks up the published counts, or what must hold where there are none.

    Args:
        name: one of ``NAMES``.
        data_dir: directory of data sets, as ``prepare`` has it.

    Returns:
        Lines in the order in which they are read.

    Raises:
        UsageError: for a name without published counts.
        FileNotFoundError: where the data set has not been built.
        PathError: for a directory that cannot be one on this machine.
        ValueError: where a shard cannot be read.
    """
    if name not in NAMES:
        raise UsageError(f"no published counts of {name!r}; there are those of {', '.join(NAMES)}")
    import tensorflow_datasets as tfds

    folder = _folder(name, paths.local_folder(data_dir, "--data_dir"))
    builder: Any = tfds.builder_from_directory(validate_tfds_dir(folder))
    metadata = builder.info.metadata or {}
    if name in COUNTS:
        counts = COUNTS[name]
        lines = coded_lines(coded_table(builder), counts)
        lines += uncoded_lines(builder)
    elif name == "own":
        lines = own_check.lines(builder, metadata) + uncoded_lines(builder)
    else:
        lines = _size_lines(name, builder, metadata)
    return [*lines, *_told_lines(metadata)]


def _folder(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    made = importlib.import_module(BUILDERS[name]).Builder(data_dir=data_dir)
    folder = pathlib.Path(made.data_dir)
    if not (folder / "dataset_info.json").is_file():
        command = commands.prepare(name, data_dir)
        raise FileNotFoundError(f"{folder} does not exist: build it with {command}")
    return folder


def coded_lines(table: dict[str, np.ndarray], counts: published_counts.Counts) -> list[Line]:
    """Lists frames by part, task and participant, and action units, beside the published numbers.

    Args:
        table: of coded records: ``subject``, ``task`` [N] text, ``part``, ``frame``, ``coded`` [N], ``labels``
            [N, 15] int8 over ``RECORD_AUS``.
        counts: published.

    Returns:
        One line a number.
    """
    people = np.unique(table["subject"])
    lines = [
        Line("participants", len(people), len(counts.subjects)),
        Line("coded frames", len(table["part"]), sum(counts.frames.values()),
             f"JAA-Net's lists: {sum(counts.tracked.values())}"),
    ]  # fmt: skip
    lines += [
        Line(f"coded frames, part {part}", int((table["part"] == part).sum()), published,
             f"JAA-Net's lists: {counts.tracked[part]}")
        for part, published in counts.frames.items()
    ]  # fmt: skip
    for key, published in (("task", counts.tasks), ("subject", counts.subjects)):
        if published:
            lines += _tally(f"coded frames, {key}", table[key], published)
    frames = np.unique(
        np.stack([table["subject"], table["task"], table["frame"].astype(str)]), axis=1
    )
    lines.append(Line("coded frames that appear twice", len(table["part"]) - frames.shape[1], 0))
    lines.append(Line("coded frames without labels", int((table["coded"] != 1).sum()), 0))
    for place, au in enumerate(counts.aus):
        cells = table["labels"][:, record_columns((au,))[0]]
        lines += _unit_lines(au, place, cells, table["part"], counts)
    return lines


def _tally(what: str, values: np.ndarray, published: dict[str, int]) -> list[Line]:
    """Frames by a text column; one that is not published should not be there."""
    found = collections.Counter(values.tolist())
    names = [*published, *sorted(found.keys() - published.keys())]
    return [Line(f"{what} {name}", found[name], published.get(name, 0)) for name in names]


def _unit_lines(
    au: int, place: int, cells: np.ndarray, parts: np.ndarray, counts: published_counts.Counts
) -> Iterator[Line]:
    """How often a unit is present, in all and by part, and how often nobody knows."""
    chosen = {"": cells} | {f", part {k}": cells[parts == k] for k in counts.parts}
    positives = [row[place] for row in counts.positives.values()]
    sizes = [counts.frames[part] for part in counts.positives]
    published = [(sum(positives), sum(sizes)), *zip(positives, sizes, strict=True)]
    for (name, some), (present, size) in zip(chosen.items(), published, strict=True):
        known = some[some != UNKNOWN]
        rate = 100 * float((known == 1).mean()) if len(known) else 0.0
        note = f"{rate:.2f} % of the known cells, published {100 * present / size:.2f} %"
        yield Line(f"AU{au} present{name}", int((known == 1).sum()), present, note)
    yield Line(f"AU{au} unknown", int((cells == UNKNOWN).sum()))


def _size_lines(name: str, builder: Any, metadata: dict[str, Any]) -> list[Line]:
    """People, pictures and pairs, or clips and frames."""
    published, key = published_counts.SIZES[name], "task" if name == "afew_va" else "name"
    found = [columns(builder, split, (key,))[key].tolist() for split in builder.info.splits]
    total, names = sum(map(len, found)), len(set().union(*found))
    if name == "afew_va":
        about = f"published: about {published_counts.AFEW_VA_FRAMES_ABOUT}"
        return [Line("clips", names, published["clips"]), Line("frames", total, note=about)]
    lines = [
        Line("people", names, published["people"]),
        Line("pictures", total, published["pictures"]),
    ]
    if "pairs" in published:
        pairs = metadata.get("pairs", [])
        same = sum(pair[4] for pair in pairs)
        lines += [
            Line("pairs", len(pairs), published["pairs"]),
            Line("pairs of one person", same, published["pairs"] // 2),
            Line("blocks of pairs", len({pair[5] for pair in pairs}), published["blocks"]),
        ]
    return lines


def _told_lines(metadata: dict[str, Any]) -> Iterator[Line]:
    """What the builder read and left out, from its metadata."""
    for what, count in metadata.get("read", {}).items():
        yield Line(f"read: {what}", count)
    for reason, cases in metadata.get("skipped", {}).items():
        yield Line(f"left out: {reason}", cases["count"], note=", ".join(cases["examples"][:3]))


def show(name: str, lines: Iterable[Line]) -> int:
    """Prints lines, a table on a terminal, and how many of them differ; returns that number."""
    lines = list(lines)
    compared = [line for line in lines if line.published is not None]
    wrong = sum(line.difference != 0 for line in compared)
    if sys.stdout.isatty():
        _table(name, lines)
    else:
        for line in lines:
            print(_plain(line))
    kind = " and ".join(sorted({line.against for line in compared})) or "published"
    print(f"{name}: {kind} numbers compared: {len(compared)}, differing: {wrong}")
    return wrong


def _plain(line: Line) -> str:
    parts = [f"{line.what}: {line.found}"]
    if line.published is not None:
        parts.append(f"{line.against} {line.published}")
    if line.difference:
        parts.append(f"DIFFERS by {line.difference:+d}")
    return ", ".join(parts) + (f" ({line.note})" if line.note else "")


def _table(name: str, lines: list[Line]) -> None:
    from rich import console, table
    from rich.markup import escape

    grid = table.Table(title=name, title_justify="left")
    grid.add_column("")
    against = next((line.against for line in lines if line.published is not None), "published")
    for heading in ("found", against, "difference"):
        grid.add_column(heading, justify="right")
    grid.add_column("note", overflow="fold")
    for line in lines:
        published = "" if line.published is None else str(line.published)
        apart = f"{line.difference:+d}" if line.difference else ""
        style = "bold red" if line.difference else None
        cells = (escape(line.what), str(line.found), published, apart, escape(line.note))
        grid.add_row(*cells, style=style)
    console.Console().print(grid)


def _main(arguments: list[str]) -> int:
    """Runs the command; an error is one line."""
    logging.set_verbosity(logging.WARNING)
    try:
        if len(arguments) != 2:
            raise UsageError(f"give one data set; known: {', '.join(NAMES)}")
        name = arguments[1]
        return int(show(name, validate(name, paths.data_dir(flags.FLAGS.data_dir))) > 0)
    except (ValueError, OSError) as error:
        return command_line.complain(error, "validate")


def main() -> None:
    """Runs ``python -m data_builders.validate``."""
    flags.DEFINE_string(
        "data_dir", None, f"Directory of data sets (default: {paths.DATA_VARIABLE})."
    )
    command_line.run(_main, arguments=1, speaker="validate")


if __name__ == "__main__":
    main()
