"""What every target type answers: all that depends on what is to be learned of a sample.

Shapes: N samples of a part, B of a batch, C names.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

from torch import Tensor

from frostline.contracts.targets import Targets
from frostline.data.tables.table import Table
from frostline.data.target_types.names import alike_notes
from frostline.errors import ConfigError, DataError

Geometry = Callable[[Tensor], Tensor]  # moves maps (B, K, H, W) as the pictures of the batch are moved


class TargetType(ABC):
    """A type sets `kind`, the name by which tasks and checkpoints know it; in messages it is `described_as`, and
    several of its names are `plural`; `task` is the option that learns it, `data` are options that read it. A type
    overrides the rest where it differs from the most common answer.
    """

    kind: ClassVar[str]
    described_as: ClassVar[str]
    plural: ClassVar[str]
    task: ClassVar[str]
    data: ClassVar[str] = "data=image_csv or data=text_csv"
    about: ClassVar[dict[str, str]] = {}  # what `Targets.about` holds: annotations by name
    has_classes: ClassVar[bool] = True  # whether its names are answers among which a network chooses
    per_word: ClassVar[bool] = False  # whether a text has a target for each word, not one for all of them
    cells_hold_lists: ClassVar[bool] = False  # whether a cell of a table may be a list
    mixes: ClassVar[bool] = True  # whether a sample may be mixed with another, and its target with the other's
    takes_class_names: ClassVar[bool] = False  # whether whole numbers in a table may stand for names given elsewhere

    # --- reading ---

    @property
    def reads_columns(self) -> bool:
        """Whether columns of a table give this type."""
        return type(self).read is not TargetType.read

    def require_columns(self, columns: Sequence[str], separator: str | None, others: Sequence[str]) -> None:
        """columns: of targets; others: with another meaning. Raises ConfigError if the type is not read from them."""
        wanted = [*others, *columns]
        twice = [name for name in wanted if wanted.count(name) > 1]
        if twice:
            problem = f"the column '{twice[0]}' is named twice"
        elif not columns:
            problem = "no column of targets is named"
        else:
            problem = self.columns_problem(columns, separator)
        if problem:
            raise ConfigError(
                problem,
                where="data",
                next_step="data.target_columns=[...]; for task=multi_label a column of 0 and 1 per label, or one "
                "column and data.separator='|'; one label alone is a class of two (task=classification)",
            )

    def columns_problem(self, columns: Sequence[str], separator: str | None) -> str:
        """Why the type is not read from these columns, if so. columns: at least one, and different."""
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
        """Names and (N, ...) targets. training: indices of the training rows, whose names are the names. known: the
        names of a run, which its network gives, whatever the table has. class_names: of the numbers in the column.

        Raises DataError that names the line of a faulty cell, ConfigError where no column gives this type.
        """
        raise ConfigError(
            f"columns of a table do not give {self.described_as}",
            where="task, data",
            next_step="another task, or data that comes with such targets",
        )

    # --- what a part has ---

    @abstractmethod
    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        """Samples of each thing of which a part needs some; empty where there is no such thing."""

    @abstractmethod
    def strata(self, targets: Tensor) -> Tensor:
        """(N,) int64: a split takes the same fraction of the samples of each number."""

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """targets: of the training split. The order of the samples changes no bit: a resume compares the numbers."""
        return Targets(self.kind, names, list(self.counts(names, targets).values()), {})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """`4 classes, the most frequent 'a' (59 %)`. samples: of the training split."""
        most = max(targets.counts)
        name = targets.names[targets.counts.index(most)]
        return f"{len(targets.names)} {self.plural}, the most frequent '{name}' ({100 * most / samples:.0f} %)"

    def notes(self, targets: Targets) -> list[str]:
        """What a user should know of the targets before the run, in sentences."""
        return alike_notes(targets.names, self.plural) if self.has_classes else []

    @abstractmethod
    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """samples: of the training split. Raises DataError where nothing can be learned from the targets."""

    # --- samples ---

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor, num_classes: int) -> Tensor:
        """(B, C) float targets of pictures that are mixed with those of `partners`. share: (B, 1) of the picture
        itself. Raises ConfigError if such targets cannot be mixed."""
        raise ConfigError(
            f"data.augment=strong mixes pictures and their targets, and {self.plural} cannot be mixed",
            where="task, data",
            next_step="data.augment=standard",
        )

    def follow(self, targets: Tensor, geometry: Geometry) -> Tensor:
        """The targets (B, ...) of pictures that an augmentation moves by `geometry`."""
        return targets

    def comparable(self, targets: Tensor) -> list[Hashable]:
        """A value for each sample; samples with the same target have the same value."""
        return [row.tobytes() for row in targets.numpy()]

    def digested(self, targets: Tensor) -> Any:
        """The bytes by which a fingerprint tells targets apart."""
        return targets.numpy().data


def require_differences(targets: Targets, total: int, one: str, next_step: str, where: object, *, name: str) -> None:
    """total: the number of things counted, one of which is called `one`; `name`: what each of them has. Raises
    DataError if all have the same."""
    always = [it for it, count in zip(targets.names, targets.counts, strict=True) if count == total]
    if always:
        raise DataError(
            f"every training {one} has the {name} '{always[0]}', so that there is nothing to learn about it",
            where=where,
            next_step=next_step,
        )
