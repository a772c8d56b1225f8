"""Counts, by reason, what a builder left out; stored in the data set's metadata."""

import collections

_LISTED = 20  # how many cases of one fault are named


class FaultReport:
    """Counts what was left out and why, and names the first cases of each reason."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, case: str, count: int = 1) -> None:
        """Counts ``count`` cases of a reason, of which ``case`` is one."""
        if count:
            self.counts[reason] += count
            listed = self.examples.setdefault(reason, [])
            if len(listed) < _LISTED:
                listed.append(case)

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Returns {reason: {"count": how many, "examples": the first of them}}, for JSON."""
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in sorted(self.counts.items())
        }
