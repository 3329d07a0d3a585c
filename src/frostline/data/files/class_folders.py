"""A reader of files in one folder per class, optionally below folders train/, val/ and test/."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from frostline.contracts.targets import Targets
from frostline.data.files.found import BESIDE, FoundFiles, passed_note, sample_files
from frostline.data.files.kind import FileKind
from frostline.data.files.samples import SampleFiles
from frostline.data.grouping import groups_by_pattern, require_pattern
from frostline.data.reader import Found, Reader
from frostline.data.tables.table import normalised
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError, close_names
from frostline.faults import together
from frostline.paths import at_home
from frostline.quoting import setting_of

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class ClassFolders(Reader):
    """files, samples: what a subclass reads, and what its modality takes. classes: the class folders to use; null for
    all. group_pattern: see `groups_by_pattern`. Raises DataError."""

    files: ClassVar[FileKind]
    samples: ClassVar[type[SampleFiles]]
    listed_by: ClassVar[str]  # value of `data=` that reads such files from a table
    chooses = "data.classes"
    named_by = "data.dir"
    ungroups = "data.group_pattern=null"
    divides = "folders train, val and test"

    def __init__(self, *, dir: str, classes: list[str | int] | None, group_pattern: str | None) -> None:
        require_pattern(group_pattern)
        self.group_pattern = group_pattern
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.wanted = None if classes is None else [normalised(str(name)) for name in classes]
        self.passed = Counter[str]()  # number of skipped files, by reason

    def read(self, target: TargetType, known: Targets | None) -> Found:
        names = None if known is None else known.names
        if not self.dir.is_dir():
            raise DataError(
                "there is no such data folder",
                where=self.dir,
                next_step=f"data.dir=<folder> that holds a folder of {self.files.many} for each class",
            )
        folders = {split: first_folder(self.dir, names) for split, names in SPLITS.items()}
        train = folders["train"] or (folders["test"] if names is not None else None) or self.dir
        self._beside(folders)
        further = self._further([train, folders["val"], folders["test"]], target, names)
        classes = [*self._classes(train, names, target, further), *further]
        if not target.divides_names and (names is None or self.wanted is None):
            for split in ("val", "test"):
                self._require_known(folders[split], names or [*_class_folders(train)], of_run=names is not None)
        found = {"train": self._samples(train, classes)}
        for split in ("val", "test"):
            folder = folders[split]
            if folder is not None:
                found[split] = found["train"] if folder == train else self._samples(folder, classes)
        return Found(
            classes,
            found["train"],
            found.get("val"),
            found.get("test"),
            passed_note(+self.passed),
            groups=groups_by_pattern(
                {split: it.files for split, it in found.items()},
                self.dir,
                self.group_pattern if known is None else None,  # samples to score are not divided
            ),
        )

    def _beside(self, folders: dict[str, Path | None]) -> None:
        """Count folders beside those of the splits, which are skipped."""
        if folders["train"] is not None:
            self.passed[BESIDE] += len({*_class_folders(self.dir).values()} - {*folders.values()})

    def _samples(self, folder: Path, classes: list[str]) -> SampleFiles:
        files: list[Path] = []
        labels: list[int] = []
        named = _class_folders(folder)
        for name, number in sorted((name, number) for number, name in enumerate(classes)):
            members, passed = sample_files(named[name], self.files) if name in named else FoundFiles([], Counter())
            files += members
            labels += [number] * len(members)
            self.passed += passed
        self.passed[f"{self.files.many} beside the class folders"] += self._loose(folder)
        if not files:
            loose = self._loose(folder)
            raise DataError(
                self._in_no_folder(loose) if loose else f"there are no {self.files.many}{self._text_hint(folder)}",
                where=folder,
                next_step=f"put {'them' if loose else self.files.many} ({', '.join(self.files.usual)}, ...) into "
                f"{folder}/<class>/",
            )
        return self.samples(files, torch.tensor(labels), self.dir)

    def _found(self, folder: Path) -> list[str]:
        """Names of the class folders, without those of splits."""
        reserved = {name for names in SPLITS.values() for name in names} if folder == self.dir else set()
        return [name for name in _class_folders(folder) if name.lower() not in reserved]

    def _further(self, folders: list[Path | None], target: TargetType, known: list[str] | None) -> list[str]:
        """Names, sorted, that a type which divides names finds beside those of training (the first folder) or `known`;
        those in `data.classes` if that is set."""
        if not target.divides_names:
            return []
        first, *others = ([] if folder is None else self._found(folder) for folder in folders)
        found = {*first}.union(*others) - {*(first if known is None else known)}
        return sorted(found if self.wanted is None else found & {*self.wanted})

    def _classes(
        self, train: Path, known: list[str] | None, target: TargetType, further: Sequence[str] = ()
    ) -> list[str]:
        found = self._found(train)
        for name in self.wanted or [] if known is None else []:
            if name not in (*found, *further):
                raise DataError(
                    f"there is no class folder '{name}': {close_names(name, [*found, *further])}",
                    where=train,
                    next_step="data.classes=[...] with names of class folders, or null for all",
                )
        if known is not None:
            strange = [name for name in found if name not in known]
            if strange and self.wanted is None and not target.divides_names:
                raise self._strange(strange, train, known, of_run=True)
            return known
        classes = sorted(set(self.wanted) & set(found)) if self.wanted is not None else found
        if len(classes) < 2:
            loose = self._loose(train)
            hint = f": {self._in_no_folder(loose)}" if loose else self._text_hint(train)
            raise DataError(
                f"a {target.task} needs two {target.plural}, but there is {_listed(classes)}{hint}",
                where=train,
                next_step=f"put the {self.files.many} into a folder for each class"
                f"{self._table_step(train) if loose else ''}",
            )
        return classes

    def _require_known(self, folder: Path | None, known: list[str], *, of_run: bool) -> None:
        strange = [name for name in _class_folders(folder) if name not in known] if folder is not None else []
        if strange and folder is not None:
            raise self._strange(strange, folder, known, of_run=of_run)

    def _strange(self, names: list[str], folder: Path, known: list[str], *, of_run: bool) -> DataError:
        owner = "of the run" if of_run else "of the training split"
        step = "rename or remove that folder" + ("" if of_run else ", or add it to the training split")
        return together(
            [
                DataError(
                    f"'{name}' is a class of this folder, but not {owner}: {close_names(name, known)}",
                    where=folder,
                    next_step=step,
                )
                for name in names
            ],
            "class folders are unknown",
        )

    def _loose(self, folder: Path) -> int:
        """Number of files of this kind beside the class folders."""
        return sum(it.suffix.lower() in self.files.suffixes() for it in folder.iterdir() if it.is_file())

    def _in_no_folder(self, loose: int) -> str:
        one, many = self.files.one, self.files.many
        return f"{loose:,} {many} are in no class folder" if loose > 1 else f"one {one} is in no class folder"

    def _table_step(self, folder: Path) -> str:
        """Next step for files beside a table, which probably lists their classes."""
        table = next((file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLES), None)
        setting = "" if table is None else setting_of("data.file", table)
        return f"; or {setting} data={self.listed_by} data.target_columns=[<column of the class>]" if setting else ""

    def _text_hint(self, folder: Path) -> str:
        text = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in {".csv", ".tsv", ".txt", ".jsonl"})
        return f" (but there is text: {text[0]}; this data is for {self.files.many})" if text else ""


def _class_folders(folder: Path) -> dict[str, Path]:
    """Folders of the classes by name. Raises DataError if two have the same name after Unicode normalisation."""
    folders: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if folders.setdefault(normalised(path.name), path) != path:
            raise DataError(
                f"two class folders have the same name, '{normalised(path.name)}', in different Unicode forms",
                where=folder,
                next_step="move the files of one into the other",
            )
    return dict(sorted(folders.items()))


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((f for f in sorted(folder.iterdir()) if f.name.lower() in names and f.is_dir()), None)


def _listed(classes: list[str]) -> str:
    return f"only one: '{classes[0]}'" if classes else "none"
