"""Runs builders on Apache Beam workers (extra ``beam``), which share the directory of data sets."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from data_builders import work_units

_NAMESPACE, _REUSED = "data_builders", "reused_units"


def options(flags: Sequence[str]) -> PipelineOptions:
    """Returns Beam's own options, such as ``--runner=FlinkRunner``."""
    return PipelineOptions(list(flags))


def run(function: Callable[[Any], Any], items: Sequence[Any], flags: Sequence[str]) -> None:
    """Calls a function on each item, on the workers, for what it leaves on disk.

    Args:
        function: importable by name.
        items: what to map over.
        flags: of Beam.
    """
    with apache_beam.Pipeline(options=options(flags)) as pipeline:
        _ = (
            pipeline
            | apache_beam.Create(list(items))
            | apache_beam.Map(functools.partial(_call, function))
        )


def records(kept: work_units.Kept, work: Sequence[Any]) -> apache_beam.PTransform:
    """Returns a transform that makes the records of units; how TFDS takes the work of a split."""
    return apache_beam.Create(list(work)) | apache_beam.FlatMap(functools.partial(_examples, kept))


def reused(result: Any) -> int:
    """Returns how many units of a finished pipeline an earlier build had made."""
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE).with_name(_REUSED))
    return sum(counter.result for counter in found["counters"])


def _call(function: Callable[[Any], Any], item: Any) -> None:
    function(item)


def _examples(kept: work_units.Kept, unit: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    made = kept(unit)
    Metrics.counter(_NAMESPACE, _REUSED).inc(int(made.reused))
    yield from made.examples
