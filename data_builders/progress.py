"""Progress of a pass over items: a bar on a terminal, log lines elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_LINE_SECONDS = 10.0


def track(items: Iterable[_Item], *, label: str, total: int | None = None) -> Iterator[_Item]:
    """Passes items on and shows how many there were, how fast, and how long the rest will take.

    Args:
        items: what to count.
        label: what is counted.
        total: how many there will be, None where nobody knows.

    Yields:
        The items. A terminal shows a bar, anything else a line every ten seconds (standard error).
    """
    if sys.stderr.isatty():
        yield from _bar(items, label, total)
        return
    start = shown = time.monotonic()
    count = counted = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= _LINE_SECONDS:
            # The rate since the last line: what an interrupted build had made came in a flash.
            rate = (count - counted) / (now - shown)
            print(_line(label, count, total, rate), file=sys.stderr, flush=True)
            shown, counted = now, count
    seconds = time.monotonic() - start
    line = _line(label, count, count, count / max(seconds, 1e-6))
    print(f"{line}, {seconds:.0f} s", file=sys.stderr, flush=True)


@contextlib.contextmanager
def watch(count: Callable[[], tuple[int, int]], *, label: str) -> Iterator[None]:
    """Shows how far work is that is done elsewhere: a line every ten seconds, and one at the end.

    Args:
        count: how many there are, and how many there will be.
        label: what is counted.
    """
    done = threading.Event()

    def show() -> None:
        before, _ = count()
        while not done.wait(_LINE_SECONDS):
            now, total = count()
            rate = (now - before) / _LINE_SECONDS
            print(_line(label, now, total, rate), file=sys.stderr, flush=True)
            before = now

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    now, total = count()
    print(f"{label}: {now} of {total}", file=sys.stderr, flush=True)


def _bar(items: Iterable[_Item], label: str, total: int | None) -> Iterator[_Item]:
    from rich import console, progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console.Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total, rate="")
        for count, item in enumerate(items, 1):
            yield item
            bars.update(task, completed=count, rate=f"{bars.tasks[0].speed or 0:.1f}/s")


def _line(label: str, count: int, total: int | None, rate: float) -> str:
    text = f"{label}: {count}" + (f" of {total}" if total else "") + f", {rate:.1f}/s"
    if total and count < total:
        text += f", {(total - count) / max(rate, 1e-6):.0f} s left"
    return text
