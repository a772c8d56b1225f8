"""Exports as a table, and the deletion of those that no run uses."""

import pathlib
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.export_list import Export, Listing, Unfinished, read_listing
from experiments.fold_parts import listed

#: Seconds after which an unfinished folder is nobody's; a run writes its export in minutes.
_OLD = 24 * 3600.0


class PruneError(ValueError):
    """Nothing may be deleted; the message says why and what to do."""


def export_table(found: Sequence[Export | Unfinished], title: str) -> Table:
    """Returns exports as a table for a terminal.

    Args:
        found: in the order of the rows.
        title: plain text.
    """
    made = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left")
    for name in ("training", "digest"):
        made.add_column(name, no_wrap=True)
    for name in ("size", "age"):
        made.add_column(name, justify="right", no_wrap=True)
    for name in ("parts", "used by"):
        made.add_column(name, overflow="fold")
    for export in found:
        told = (export.training, export.folder.name, size_text(export.nbytes), age_text(export.age))
        parts = ", ".join(export.parts) if isinstance(export, Export) else "unfinished"
        made.add_row(*map(escape, (*told, parts, "; ".join(_users(export)) or "nobody")))
    return made


def _users(export: Export | Unfinished) -> Iterator[str]:
    if export.held:
        yield "a run that makes it"
    if isinstance(export, Unfinished):
        return
    if export.problem:
        yield export.problem
    if export.runs:
        yield listed(export.runs, 3)
    if export.exports:
        yield listed((f"{training} {digest}" for training, digest in export.exports), 3)


def summary(listing: Listing) -> str:
    """Returns how many exports there are, and how many of them could be deleted."""
    waste, everything = deletable(listing), (*listing.exports, *listing.unfinished)
    total, unused = (
        size_text(sum(export.nbytes for export in group)) for group in (everything, waste)
    )
    told = f"{_counted(everything)}, {total}; "
    return told + (f"{_counted(waste)}, {unused}, can go (--prune)" if waste else "all are in use")


def deletable(listing: Listing) -> list[Export | Unfinished]:
    """Returns exports that no run uses, directly or through other exports, and what was left unfinished."""
    unused: list[Export | Unfinished] = [export for export in listing.exports if not export.kept]
    return unused + [
        export for export in listing.unfinished if export.age > _OLD and not export.held
    ]


def prune(runs: pathlib.Path, console: Console, *, yes: bool) -> None:
    """Deletes exports that no run uses, after asking.

    Args:
        runs: RUNS.
        console: where they are shown.
        yes: do not ask.

    Raises:
        FileNotFoundError: where there are no exports.
        PruneError: where it cannot be told which are used, or nobody can be asked.
        OSError: where one cannot be deleted.
    """
    runs = runs.resolve()
    listing = _checked(runs)
    waste = deletable(listing)
    if not waste:
        console.print(f"nothing to delete: {summary(listing)}", markup=False, highlight=False)
        return
    told = f"{_counted(waste)}, {size_text(sum(export.nbytes for export in waste))}"
    if not yes and not sys.stdin.isatty():
        raise PruneError(
            f"nothing is deleted: {told}, could be deleted from {runs}, but there is no terminal to confirm it;"
            " --yes deletes without asking, --exports lists them"
        )
    console.print(export_table(waste, f"{runs}: no run uses these"))
    if not yes and not _agreed(f"delete {told}? [y/N] "):
        console.print("nothing is deleted")
        return
    # A run that has begun while the question stood there may use some of them.
    still = {export.folder for export in deletable(_checked(runs))}
    gone = [export for export in waste if export.folder in still]
    for export in gone:
        _delete(export)
    kept = f"; {len(waste) - len(gone)} are in use by now" if len(gone) < len(waste) else ""
    freed = size_text(sum(export.nbytes for export in gone))
    console.print(f"deleted {_counted(gone)}, {freed}{kept}", markup=False, highlight=False)


def _checked(runs: pathlib.Path) -> Listing:
    """The listing of a folder of which it can be told what is used."""
    if (runs / "exports").is_symlink():
        raise PruneError(
            f"nothing is deleted: {runs / 'exports'} is a link, and other folders of runs may use what"
            " it leads to"
        )
    listing = read_listing(runs)
    for line in listing.damaged:
        others = len(listing.damaged) - 1
        raise PruneError(
            f"nothing is deleted, because it is unknown what is in use: {line}"
            f"{f' (and {others} more)' if others else ''}; repair it, or delete what it belongs to"
        )
    return listing


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _delete(export: Export | Unfinished) -> None:
    """Takes the name away first, so that nobody reads half of it."""
    folder = export.folder
    if isinstance(export, Export):
        # A name that is listed as unfinished, should this be stopped half way.
        folder = export.folder.with_name(f".{export.digest}.{secrets.token_hex(4)}.tmp")
        export.folder.rename(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise OSError(f"{folder} cannot be deleted whole: check its permissions")


def _counted(found: Sequence[Export | Unfinished]) -> str:
    exports = sum(isinstance(export, Export) for export in found)
    others = len(found) - exports
    told = [f"{exports} export{'s' * (exports != 1)}"] if exports or not others else []
    told += [f"{others} unfinished folder{'s' * (others != 1)}"] if others else []
    return " and ".join(told)


def size_text(nbytes: int) -> str:
    """Returns a size in words: ``12.3 MiB``."""
    value, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{nbytes} B" if unit == "B" else f"{value:.1f} {unit}"


def age_text(seconds: float) -> str:
    """Returns an age in words: ``3 d 4 h``, ``5 h 6 min`` or ``7 min``."""
    minutes = max(0, int(seconds // 60))
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
