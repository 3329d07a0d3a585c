"""One class for each sample. Targets: (N,) int64, indices of names."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from frostline.contracts.features import Form
from frostline.contracts.targets import Targets
from frostline.data.tables.columns import classes_of, numbered_of
from frostline.data.tables.table import Table, normalised
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, close_names, shortened
from frostline.quoting import setting_of


class Classes(TargetType):
    kind = "class"
    described_as = "one class for each sample"
    plural = "classes"
    task = "classification"
    takes_class_names = True
    rows_from: ClassVar[Form | None] = "vector"

    def columns_problem(self, columns: Sequence[str], separator: str | None) -> str:
        if len(columns) > 1:
            return f"a class needs one column of targets, but {len(columns)} are named (task=multi_label?)"
        return super().columns_problem(columns, separator)

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        (column,) = columns
        if class_names is not None:
            return numbered_of(table, column, class_names, training, known)
        return classes_of(table, column, training, known)

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        counted = Counter(targets.tolist())
        return {name: counted[number] for number, name in enumerate(names)}

    def strata(self, targets: Tensor) -> Tensor:
        return targets

    def ranked(self, targets: Targets, labels: Tensor, relevant: float | str | None) -> dict[str, float] | None:
        name = _spelled(relevant, targets.names) if isinstance(relevant, int | float) else relevant
        if name is None and len(targets.names) > 2:
            return None
        name = targets.names[1] if name is None else normalised(name)
        if name not in targets.names:
            raise ConfigError(
                f"there is no class '{shortened(name)}': {close_names(name, targets.names)}",
                where="data.relevant",
                next_step=setting_of("data.relevant", targets.names[-1]) + ", or another class",
            )
        return {"relevant": float(targets.names.index(name))}

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Checks nothing: readers find at least two classes, and by `counts` training has samples of each."""

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor, num_classes: int) -> Tensor:
        own, other = (one_hot(it, num_classes).float() for it in (targets, partners))
        return share * own + (1 - share) * other

    def is_class(self, leaf: Tensor) -> bool:
        return leaf.ndim == 1


def _spelled(number: float, names: Sequence[str]) -> str:
    """The class that a number names, digit by digit: 1.0 also names the class 1."""
    whole = isinstance(number, float) and number.is_integer() and str(number) not in names
    return str(int(number)) if whole else str(number)
