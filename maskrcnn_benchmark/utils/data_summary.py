"""What a data set holds, in some lines that training, evaluation and `dota.py split` open with."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LINE_LENGTH = 100
UNLABELLED = "images without a label file"


@dataclass
class DataSummary:
    """Counts of a data set; a sample is what the network is shown at a time.

    Attributes:
        images: images that samples are made of.
        samples: tiles, or images that are not cut.
        classes: objects per class, over all samples; an object that several tiles show counts in
            each. None where there are no labels.
        difficult: how many of the objects are marked as difficult.
        cut_away: objects of which a sample shows too little (difficult 2), not among the others.
        empty: samples that show no object.
        left_out: what is not in the samples, by its name: how much.
    """

    images: int
    samples: int
    classes: Mapping[str, int] | None
    difficult: int = 0
    cut_away: int = 0
    empty: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def describe(self, title: str, more: Sequence[str] = ()) -> str:
        """Lay the counts out as text.

        Args:
            title: what the data set is called.
            more: lines to add, such as "scale: 1.00".
        """
        head = f"{title}: {self.images:,} images"
        if self.samples != self.images:
            head += f" in {self.samples:,} samples"
        lines = []
        if self.classes is None:
            head += ", no labels"
        else:
            head += f", {sum(self.classes.values()):,} objects"
            lines.append("classes: " + (_counts(self.classes) or "none"))
        if self.difficult:
            head += f" ({self.difficult:,} of them difficult)"
        if self.empty:
            lines.append(f"samples without an object: {self.empty:,}")
        if self.cut_away:
            lines.append(f"objects cut away at the samples' borders: {self.cut_away:,}")
        left_out = {name: count for name, count in self.left_out.items() if count}
        if left_out:
            lines.append("left out: " + _counts(left_out))
        return "\n".join([head, *map(_wrapped, [*lines, *more])])


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line,
        LINE_LENGTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
