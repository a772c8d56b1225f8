"""Base class of all builders: distributes their work, shows its progress, and caches its results."""

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data_builders import schema, work_units
from data_builders.fault_report import FaultReport
from piapdf_jax import faces


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder whose records are made from units of work, in processes or on Apache Beam.

    Attributes:
        workers: processes.
        detector: makes the landmark detector; importable by name.
        beam_options: flags of a Beam pipeline, which then does the work; None does it here.
        kept_in: folder of the finished units of an interrupted build; None keeps nothing.
        progress: shows how far a pass over items is.
        expected_examples: records by split, known before the first is made.
        reused: units taken from an interrupted build.
        planned: units in all.
    """

    workers: int = 1
    detector: Callable[[], faces.LandmarkDetector] = faces.DlibDetector
    beam_options: Sequence[str] | None = None
    kept_in: str | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.progress: Callable[..., Iterator[Any]] = lambda items, **_: iter(items)
        self.expected_examples: dict[str, int] = {}
        self.reused = 0
        self.planned = 0
        self._elsewhere: list[tuple[work_units.Kept, Sequence[Any], FaultReport]] = []

    def changed(self, manual: pathlib.Path) -> str:
        """Returns what of the original files is not as it was when the data set was built; "" for nothing known.

        Args:
            manual: their folder.
        """
        return ""

    def cache(self, what: str) -> pathlib.Path:
        """Returns the folder below the data directory for what outlives a build."""
        return pathlib.Path(self.data_dir_root, ".cache", what, self.name)

    def describe(
        self,
        *,
        action_units: Iterable[int],
        people: Mapping[str, Iterable[str]],
        kind: str = "",
    ) -> None:
        """Writes into the metadata what a reader must know before it opens a record.

        Args:
            action_units: FACS numbers of the label columns that are coded somewhere; () for faces without labels.
            people: everybody in a split, by split.
            kind: a group of people that several configs of a builder share; a person is (builder, kind, subject).
        """
        assert self.info.metadata is not None
        self.info.metadata.update(
            action_units=sorted(set(action_units)),
            people={split: sorted(set(names)) for split, names in people.items()},
            kind=kind,
        )

    def in_advance(
        self, function: Callable[[Any], Any], items: Sequence[Any], *, label: str
    ) -> Iterator[Any]:
        """Yields the results of a function that finds its earlier ones on disk.

        Args:
            function: importable by name.
            items: what to map over.
            label: what is counted.

        Returns:
            The result of each item, in order.
        """
        if self.beam_options is None or not items:
            found = schema.parallel(function, items, workers=self.workers)
        else:
            from data_builders import beam

            # The workers leave their results on the disk that all share; here they are only read.
            beam.run(function, items, self.beam_options)
            found = map(function, items)
        return self.progress(found, label=f"{self.name} {label}", total=len(items))

    def records(
        self,
        make: Callable[[Any], work_units.Made],
        work: Sequence[Any],
        report: FaultReport | None = None,
    ) -> Any:
        """Makes the records of units of work.

        Args:
            make: makes one unit; importable by name.
            work: the units; their records come in this order.
            report: gets the faults of the units; the metadata are brought up to date.

        Returns:
            What ``_generate_examples`` may return: an iterator over (key, example), or a transform of Beam.
        """
        kept = work_units.Kept(make, self.kept_in)
        self.planned += len(work)
        if self.beam_options is None:
            return self._in_order(kept, work, report)
        from data_builders import beam

        if report is not None:
            self._elsewhere.append((kept, work, report))
        return beam.records(kept, work)

    def units_on_disk(self) -> tuple[int, int]:
        """Counts the units that are kept, and those that there will be."""
        return sum(1 for _ in pathlib.Path(self.kept_in or "").glob("*.npz")), self.planned

    def _in_order(
        self, kept: work_units.Kept, work: Sequence[Any], report: FaultReport | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for made in schema.parallel(kept, work, workers=self.workers):
            self.reused += made.reused
            yield from made.examples
            if report is not None:
                self._left_out(made.faults, report)

    def _process_pipeline_result(self, pipeline_result: Any) -> None:
        """Called by TFDS when its Beam pipeline is through, before the metadata are written."""
        from data_builders import beam

        self.reused = beam.reused(pipeline_result)
        for kept, work, report in self._elsewhere:
            for unit in work:
                self._left_out(kept(unit).faults, report)

    def _left_out(self, faults: Iterable[tuple[str, str]], report: FaultReport) -> None:
        for reason, case in faults:
            report.add(reason, case)
        assert self.info.metadata is not None
        self.info.metadata["skipped"] = report.as_dict()
