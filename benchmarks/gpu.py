"""B1 training on one GPU beside timm's network: images a second, and share of the card's peak."""

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case
from benchmarks.worker import Worker

#: timm's network as one trains it on such a card.
PEER = "channels_last+compile"


def run(
    side: int,
    batch: int,
    peak_tflops: float,
    measure: Callable[..., dict[str, Any]],
    *,
    peer: str = PEER,
) -> dict[str, Any]:
    """Times training steps on both sides by turns and prints images a second.

    Both sides compute in bfloat16 with parameters and running statistics in float32. The share of
    the peak counts the operations of PyTorch's forward and backward pass (two a multiply-add,
    convolutions and products only) for both sides.

    Args:
        side: of the images, px.
        batch: images a step.
        peak_tflops: of the card in bfloat16, 10^12 operations a second.
        measure: ``speed.measure``.
        peer: form of PyTorch.

    Returns:
        The row of ``table.summary`` with ``images_s`` and ``share`` by side.
    """
    case = Case("b1", side, batch, passes=("train",))
    with contextlib.ExitStack() as stack:
        workers = {
            "jax": stack.enter_context(Worker("jax", compute_dtype="bfloat16")),
            peer: stack.enter_context(Worker(peer, half=True, timm=True)),
        }
        workers["jax"].make(case)
        workers[peer].make(case)
        operations = workers[peer].ask(do="operations")
        row = measure(case, "train", workers, 10, 2.0)
    row["images_s"] = {name: 1e3 / ms for name, ms in row["ms"].items()}
    factor = operations / batch / (peak_tflops * 1e12)
    row["share"] = {name: rate * factor for name, rate in row["images_s"].items()}
    print("| side | images/s | share of peak | first step, s | peak memory, MiB |")
    print("| --- | --- | --- | --- | --- |")
    for name, rate in row["images_s"].items():
        share, first, peak = row["share"][name], row["first_s"][name], row["peak_mib"][name]
        print(f"| {name} | {rate:.0f} | {share:.1%} | {first:.1f} | {peak} |")
    print(f"ratio of medians, timm / ours: {row['ratio']:.2f}")
    return row
