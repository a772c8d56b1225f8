"""Builds one data set into ArrayRecord shards, without TensorFlow.

python -m data_builders.prepare bp4d --manual_dir=FILES --data_dir=SHARDS --workers=8
python -m data_builders.prepare synthetic_faces/bp4d --data_dir=SHARDS
python -m data_builders.prepare --plugin=squares squares --data_dir=SHARDS
python -m data_builders.prepare bp4d ... --beam_options="--runner=FlinkRunner --flink_master=HOST"
"""

import contextlib
import dataclasses
import difflib
import importlib
import io
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from absl import flags, logging

from data_builders import folders, target_files, work_units
from data_builders.progress import track, watch
from data_builders.registry import (
    BUILDERS,
    UsageError,
    can_make,
    check_beam,
    import_plugins,
    register_dataset,
    words_of,
)
from piapdf_jax import command_line, paths
from piapdf_jax.tfds_files import validate_tfds_dir

__all__ = ["BUILDERS", "UsageError", "can_make", "prepare", "register_dataset"]


def prepare(
    name: str,
    *,
    data_dir: str | os.PathLike[str],
    manual_dir: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    beam_options: Sequence[str] | None = None,
    follow_links: bool = False,
) -> pathlib.Path:
    """Builds a data set, or returns at once where it is already built.

    An interrupted build goes on where it stopped; while another process builds the same data set,
    this one waits for it.

    Args:
        name: ``bp4d``, or ``synthetic_faces/bp4d`` with the builder's config.
        data_dir: directory of data sets; the shards go to ``data_dir/name/version``.
        manual_dir: folder of the original files, for data sets that nobody may download for you.
        workers: processes; None takes one for each core.
        beam_options: flags of Apache Beam, whose workers then do the work; they share ``data_dir``.
        follow_links: read what links below ``manual_dir`` lead to outside of it.

    Returns:
        The folder that holds ``dataset_info.json`` and the shards.

    Raises:
        UsageError: for a name that no builder has, or where Beam is asked for and missing.
        PathError: for a directory that cannot be one on this machine, or cannot be written to.
        FileNotFoundError: where the original files are not there; the message says where they go.
        ValueError: for original files that cannot be read as that data set, have changed since it was built, or a
            link out of them.
        TargetError: where ``data_dir`` is full or cannot be written to.
    """
    root = paths.local_folder(data_dir, "--data_dir")
    with target_files.explained(root), _quiet():
        builder = _builder(name, root)
    folder = pathlib.Path(builder.data_dir)
    full_name = str(folder.relative_to(builder.data_dir_root))
    records = root / ".cache" / "records" / full_name
    if folder.exists():
        # A process that was killed between the two may have left them.
        target_files.remove(records)
        _check_current(builder, manual_dir, folder)
        return folder
    manual = folders.manual(name, builder.MANUAL_DOWNLOAD_INSTRUCTIONS, manual_dir)
    if manual is not None and not follow_links:
        target_files.check_links(manual)
    kept = records / (work_units.recipe() + work_units.recipe_outside(type(builder).__module__))
    builder.workers, builder.progress = workers or _cores(), track
    builder.beam_options, builder.kept_in = beam_options, str(kept)
    _count_examples(builder)
    check_beam(beam_options)
    paths.target_folder(root, "--data_dir")
    lock = root / ".cache" / "locks" / f"{full_name.replace('/', '-')}.lock"
    waiting = f"{name}: another process builds it in {root}; waiting for that"
    with target_files.explained(root), target_files.alone(lock, waiting=waiting) as alone:
        if folder.exists():
            return folder
        if alone:
            target_files.remove_leftovers(root, builder.name, folder, kept)
        _build(builder, manual)
        target_files.remove(records)
    _report(builder)
    return folder


def _build(builder: Any, manual: pathlib.Path | None) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    shown = contextlib.nullcontext()
    if builder.beam_options is not None:
        from data_builders import beam

        config = dataclasses.replace(config, beam_options=beam.options(builder.beam_options))
        shown = watch(builder.units_on_disk, label=f"{builder.name} units of work")
    try:
        with _quiet(), _same_bytes(), shown:
            builder.download_and_prepare(
                # Nothing is downloaded, but TFDS makes the folder.
                download_dir=builder.data_dir_root / ".cache" / "downloads",
                download_config=config,
                file_format="array_record",
            )
    except OSError:
        if not pathlib.Path(builder.data_dir).exists():  # otherwise another machine built it
            raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what TFDS prints and logs about itself: its bars would stand among ours."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _same_bytes() -> Iterator[None]:
    """Has TFDS take our serializer; one that is named, so that Beam's workers find it too."""
    from tensorflow_datasets.core import example_serializer

    from data_builders import schema

    usual = example_serializer.ExampleSerializer
    example_serializer.ExampleSerializer = schema.OrderedSerializer
    try:
        yield
    finally:
        example_serializer.ExampleSerializer = usual


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _builder(name: str, data_dir: pathlib.Path) -> Any:
    base, _, config = name.partition("/")
    if base not in BUILDERS:
        raise UsageError(_unknown("data set", base, list(BUILDERS)))
    module = importlib.import_module(BUILDERS[base])
    if module.Builder.name != base:
        raise UsageError(
            f"{BUILDERS[base]}.Builder has the name {module.Builder.name!r} and is registered as"
            f" {base!r}: give it `name = {base!r}`"
        )
    configs = [entry.name for entry in module.Builder.BUILDER_CONFIGS]
    if config not in (configs or [""]):
        raise UsageError(_unknown(f"config of {base}", config, configs))
    return module.Builder(data_dir=data_dir, config=config or None)


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what}: {name!r}; known: {', '.join(known) or 'none'}{hint}"


def _check_current(builder: Any, manual_dir: Any, folder: pathlib.Path) -> None:
    """Refuses to call a data set built whose original files have changed."""
    if manual_dir and (said := builder.changed(paths.local_path(manual_dir, "--manual_dir"))):
        raise ValueError(f"{said} since {folder} was built: delete that folder and build it again")


def _count_examples(builder: Any) -> None:
    """Shows the progress of each split by counting what TFDS takes from its generator."""
    generators: Callable[[Any], dict[str, Iterable[Any]]] = builder._split_generators

    def counted(dl_manager: Any) -> dict[str, Iterable[Any]]:
        splits = generators(dl_manager)
        totals = getattr(builder, "expected_examples", {})
        return {
            # Beam's transforms are no iterables; its workers count for themselves.
            split: track(examples, label=f"{builder.name} {split}", total=totals.get(split))
            if isinstance(examples, Iterable)
            else examples
            for split, examples in splits.items()
        }

    builder._split_generators = counted


def _report(builder: Any) -> None:
    """Says what the builder read and what it left out, where its metadata hold that."""
    metadata = builder.info.metadata or {}
    if builder.reused:
        print(
            f"{builder.name}: {builder.reused} units of work taken from an interrupted build",
            file=sys.stderr,
        )
    for what, count in metadata.get("read", {}).items():
        print(f"{builder.name}: {count} {what}", file=sys.stderr)
    for reason, cases in metadata.get("skipped", {}).items():
        first = ", ".join(cases["examples"][:3])
        print(f"{builder.name}: left out: {cases['count']} x {reason} ({first})", file=sys.stderr)


def _main(arguments: list[str]) -> int:
    import_plugins(flags.FLAGS.plugin)
    if len(arguments) != 2:
        raise UsageError(f"give one data set; known: {', '.join(BUILDERS)}")
    start, given = time.monotonic(), flags.FLAGS.beam_options
    folder = prepare(
        arguments[1],
        data_dir=paths.data_dir(flags.FLAGS.data_dir),
        manual_dir=flags.FLAGS.manual_dir,
        workers=flags.FLAGS.workers,
        beam_options=None if given is None else words_of(given),
        follow_links=flags.FLAGS.follow_links,
    )
    import tensorflow_datasets as tfds

    with _quiet():
        splits = tfds.builder_from_directory(validate_tfds_dir(folder)).info.splits
    sizes = ", ".join(f"{key} {split.num_examples}" for key, split in splits.items())
    print(f"{arguments[1]} is in {folder}: {sizes} ({time.monotonic() - start:.0f} s)")
    return 0


def _guarded(arguments: list[str]) -> int:
    """Runs the command; an error is one line, with exit code 2 where the user can mend it by other words or files."""
    try:
        return _main(arguments)
    except (ValueError, FileNotFoundError) as error:
        code, text = 2, str(error)
    except (OSError, MemoryError) as error:
        code, text = 1, str(error)
    except KeyboardInterrupt:
        code, text = 130, "stopped; the same command resumes from here"
    print(f"prepare: {' '.join(text.split())}", file=sys.stderr)
    return code


def main() -> None:
    """Runs ``python -m data_builders.prepare``."""
    flags.DEFINE_string(
        "data_dir", None, f"Directory of data sets (default: {paths.DATA_VARIABLE})."
    )
    flags.DEFINE_string("manual_dir", None, "Folder of the original files.")
    flags.DEFINE_string("beam_options", None, "Builds on Apache Beam, with its flags (or '').")
    flags.DEFINE_multi_string("plugin", [], "Module that registers data sets, repeatable.")
    flags.DEFINE_bool("follow_links", False, "Reads what links lead to outside --manual_dir.")
    flags.DEFINE_integer("workers", None, "Processes (default: one a core).", lower_bound=1)
    command_line.as_script(__name__, __doc__)
    command_line.run(_guarded, arguments=1, speaker="prepare")


if __name__ == "__main__":
    main()
