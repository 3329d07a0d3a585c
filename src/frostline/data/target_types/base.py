"""The contract of a target type: everything that depends on what is learned of a sample.

Shapes: N samples of a split, B of a batch, C names.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor

from frostline.contracts.features import Form
from frostline.contracts.targets import Targets
from frostline.data.tables.table import Table
from frostline.data.tables.uses import TARGETS, require_one_use
from frostline.data.target_types.names import alike_notes
from frostline.errors import ConfigError, DataError, few, shortened


class Geometry(Protocol):
    """How an augmentation moved the pictures of a batch. sides: height and width of the views in pixels."""

    @property
    def sides(self) -> tuple[int, int]: ...

    def maps(self, maps: Tensor) -> Tensor:
        """(B, K, H, W) → (B, K, *sides). Maps of integers hold indices, which are not interpolated."""

    def boxes(self, boxes: Tensor) -> Tensor:
        """(B, M, 4) left, top, right and bottom in pixels of the picture → the same in pixels of the view, beyond its
        edges too; for a turned picture, of the upright box around the turned one."""


class Rows(NamedTuple):
    """Features with one name each. features: (R, D). names: (R,) int64, indices of names. sample: (R,) int64, place in
    the batch of the sample that a row is taken from."""

    features: Tensor
    names: Tensor
    sample: Tensor


class TargetType(ABC):
    """kind: the name in tasks and checkpoints. described_as: the type in messages. plural: several of its names in
    messages. task: the value of `task=` that learns it. data: settings that read it. Defaults fit most types; a type
    overrides the others.
    """

    kind: ClassVar[str]
    described_as: ClassVar[str]
    plural: ClassVar[str]
    task: ClassVar[str]
    data: ClassVar[str] = "data=image_csv or data=text_csv"
    about: ClassVar[dict[str, str]] = {}  # entries of `Targets.about`: annotation by name
    has_classes: ClassVar[bool] = True  # whether a network chooses among its names
    per_word: ClassVar[bool] = False  # whether a text has a target for each word instead of one
    cells_hold_lists: ClassVar[bool] = False  # whether a cell of a table may be a list
    mixes: ClassVar[bool] = True  # whether mixup and CutMix may mix targets
    reflects: ClassVar[bool] = True  # whether a view may show a strip of the picture twice, the second time mirrored
    takes_class_names: ClassVar[bool] = False  # whether numbers in a table may be indices of names given elsewhere
    # Whether names are divided, not samples: no name is in two splits unless the user gives these splits, whose names
    # need not be those of training.
    divides_names: ClassVar[bool] = False
    takes_vocabulary: ClassVar[bool] = False  # whether a file may list its names
    only_of: ClassVar[str | None] = None  # the plural of the only samples that have such targets
    # Probes compare networks by rows that have one name each: the form of features that gives them, None if there are
    # none; and their plural in messages, "" if the samples themselves are the rows.
    rows_from: ClassVar[Form | None] = None
    rows_are: ClassVar[str] = ""

    # --- reading ---

    @property
    def reads_columns(self) -> bool:
        """Whether columns of a table give this type."""
        return type(self).read is not TargetType.read

    def require_columns(
        self,
        columns: Sequence[str],
        separator: str | None,
        inputs: Mapping[str, str],
        dividing: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Raises ConfigError if the type cannot be read from these columns. columns: of targets. inputs, dividing: the
        setting that names each column of inputs, and each that divides the samples."""
        require_one_use([*inputs.items(), *((name, TARGETS) for name in columns), *dividing.items()])
        problem = self.columns_problem(columns, separator) if columns else "no column of targets is named"
        if problem:
            raise ConfigError(
                problem,
                where="data",
                next_step="data.target_columns=[...]; task=multi_label takes a column of 0 and 1 per label, or one "
                "column and data.separator='|'; use task=classification for a single label",
            )

    def columns_problem(self, columns: Sequence[str], separator: str | None) -> str:
        """Return why the type cannot be read from these columns, or "". columns: at least one, all different."""
        return "data.separator is for several labels in one column (task=multi_label)" if separator is not None else ""

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        """Read names and (N, ...) targets. training: indices of the training rows, from which names are taken. known:
        names of a trained run, used instead. class_names: names of the numbers in the column.

        Raises DataError that names the line of a faulty cell, ConfigError if columns cannot hold this type.
        """
        raise ConfigError(
            f"columns of a table cannot hold {self.described_as}",
            where="task, data",
            next_step="choose another task, or data with such targets",
        )

    def settled(self, names: list[str], splits: Mapping[str, Any]) -> list[str]:
        """Return the names in the order of the network's outputs, now that it is known which samples train. splits: by
        name, with `labels` and a `source`. May renumber the targets of the sources."""
        return names

    def examine(self, splits: Mapping[str, Any], names: list[str], where: object) -> list[str]:
        """Return a sentence on each split that lacks classes which training has. splits: as of `settled`. Raises
        DataError if a split cannot be scored."""
        trained = self.counts(names, splits["train"].labels) if "train" in splits else {}
        notes = []
        for name, split in splits.items():
            counts = self.counts(names, split.labels)
            missing = [it for it, count in counts.items() if not count and trained.get(it)]
            if missing:
                shown = few([*map(shortened, missing)], 10)
                every = len(missing) == len(counts)
                why = f"the {name} scores say nothing" if every else "there they can only be wrong answers"
                notes.append(f"no {name} samples of: {shown}; {why}")
        return notes

    def reading_notes(self, table: Table, columns: Sequence[str], names: list[str]) -> list[str]:
        """Sentences about cells that do not match the names. names: as `read` returned them."""
        return []

    # --- statistics of a split ---

    @abstractmethod
    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Number of samples per name, of which training needs some; empty if it needs none."""

    @abstractmethod
    def strata(self, targets: Tensor) -> Tensor:
        """(N,) int64 stratum of each sample; a split takes the same fraction of each stratum."""

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """targets: of the training split. The result must not depend on the order of samples, not even in the last bit,
        because a resume compares it."""
        return Targets(self.kind, names, list(self.counts(names, targets).values()), {})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """`4 classes, the most frequent 'a' (59 %)`. samples: of the training split."""
        most = max(targets.counts)
        name = targets.names[targets.counts.index(most)]
        return f"{len(targets.names)} {self.plural}, the most frequent '{name}' ({100 * most / samples:.0f} %)"

    def notes(self, targets: Targets) -> list[str]:
        """Sentences about the targets that a user should read before the run."""
        return alike_notes(targets.names, self.plural) if self.has_classes else []

    def ranked(self, targets: Targets, labels: Tensor, relevant: float | str | None) -> dict[str, float] | None:
        """Return `relevant`, and for numbers `least`, of the entry `ranked` of `Targets.about`; None if such targets do
        not rank samples. labels: of the training split. relevant: the setting. Raises ConfigError if it is none of the
        targets."""
        return None

    @abstractmethod
    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError if nothing can be learned from the targets. samples: their number in the training split."""

    def require_scorable(self, targets: Tensor, split: str, where: object) -> None:  # noqa: B027  # most need nothing
        """Raises DataError if a split has no targets to score. targets: (N, ...). split: its name in messages."""

    # --- samples ---

    @property
    def spans_sample(self) -> bool:
        """Whether a target describes all of a sample in its order, so that no part of the sample may be cut off."""
        return type(self).least_tokens is not TargetType.least_tokens

    def least_tokens(self, targets: Tensor) -> Tensor:
        """(N,) fewest tokens of a network from which each target can be learned. Only if it `spans_sample`."""
        raise NotImplementedError

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor, num_classes: int) -> Tensor:
        """Return (B, C) float targets of mixed pictures. partners: targets of the pictures mixed in. share: (B, 1),
        weight of the first picture. Raises ConfigError if such targets cannot be mixed."""
        raise ConfigError(
            f"data.augment=strong mixes pictures and their targets, and {self.plural} cannot be mixed",
            where="task, data",
            next_step="data.augment=standard",
        )

    def mixed(self, targets: Any, share: Tensor, num_classes: int) -> Any:
        """Mix the targets of each sample with those of the sample before it in the batch; named targets one by one:
        floats, such as a teacher's outputs, are weighted like the samples, and one target may be a class. share: see
        `mix`. Raises ConfigError for other integers."""
        if not isinstance(targets, Mapping):
            return self.mix(targets, targets.roll(1, 0), share, num_classes)
        integers = {name: leaf for name, leaf in targets.items() if not leaf.is_floating_point()}
        if len(integers) > 1 or not all(map(self.is_class, integers.values())):
            raise ConfigError(
                "data.augment=strong mixes samples and their targets: of named targets, it mixes floats and one class, "
                f"but these are integers: {few([*map(shortened, integers)])}",
                where="task, data",
                next_step="data.augment=standard",
            )
        return {
            name: self.mix(leaf, leaf.roll(1, 0), share, num_classes) if name in integers else _weighted(leaf, share)
            for name, leaf in targets.items()
        }

    def is_class(self, leaf: Tensor) -> bool:
        """Whether integers among named targets are classes that `mix` takes."""
        return False

    def follow(self, targets: Any, geometry: Geometry) -> Any:
        """Return the targets (B, ...) of pictures that an augmentation moved by `geometry`."""
        return targets

    def rows(self, features: Any, targets: Tensor) -> Rows:
        """Take the rows from the features of a batch, of the form `rows_from`. Only if they are not the samples."""
        raise NotImplementedError

    def comparable(self, targets: Tensor) -> list[Hashable]:
        """One value per sample, equal if and only if targets are equal."""
        return [row.tobytes() for row in targets.numpy()]

    def digested(self, targets: Tensor) -> Any:
        """The bytes of the targets that go into a fingerprint."""
        return targets.numpy().data


def _weighted(leaf: Tensor, share: Tensor) -> Tensor:
    """(B, ...) floats, mixed with those before them in the batch. share: (B, 1)."""
    share = share.view(-1, *[1] * (leaf.ndim - 1))
    return share * leaf + (1 - share) * leaf.roll(1, 0)


def require_differences(targets: Targets, total: int, one: str, next_step: str, where: object, *, name: str) -> None:
    """Raises DataError if one name has all counts. total: number of counted items. one: what messages call an item.
    name: what messages call its target."""
    always = [it for it, count in zip(targets.names, targets.counts, strict=True) if count == total]
    if always:
        raise DataError(
            f"every training {one} has the {name} '{always[0]}', so that there is nothing to learn about it",
            where=where,
            next_step=next_step,
        )
