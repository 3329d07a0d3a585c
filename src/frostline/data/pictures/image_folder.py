"""A reader of your own pictures in one folder per class, optionally below folders train/, val/ and test/."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

from frostline.contracts.targets import Targets
from frostline.data.pictures.files import BESIDE, LOOSE, USUAL, FoundPictures, passed_note, picture_files, suffixes
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples
from frostline.data.reader import Found, Reader
from frostline.data.tables.table import normalised
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError, close_names
from frostline.faults import together
from frostline.paths import at_home
from frostline.quoting import setting_of

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class ImageFolder(Reader):
    """classes: the class folders to use; null for all. Raises DataError."""

    modality = PictureModality
    chooses = "data.classes"
    named_by = "data.dir"
    divides = "folders train, val and test"

    def __init__(self, *, dir: str, classes: list[str | int] | None) -> None:
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
                next_step="data.dir=<folder> that holds a folder of pictures for each class",
            )
        folders = {split: first_folder(self.dir, names) for split, names in SPLITS.items()}
        train = folders["train"] or (folders["test"] if names is not None else None) or self.dir
        self._beside(folders)
        classes = self._classes(train, names)
        if names is None or self.wanted is None:
            for split in ("val", "test"):
                self._require_known(folders[split], names or [*_class_folders(train)], of_run=names is not None)
        found = {"train": self._pictures(train, classes)}
        for split in ("val", "test"):
            folder = folders[split]
            if folder is not None:
                found[split] = found["train"] if folder == train else self._pictures(folder, classes)
        return Found(classes, found["train"], found.get("val"), found.get("test"), passed_note(+self.passed))

    def _beside(self, folders: dict[str, Path | None]) -> None:
        """Count folders beside those of the splits, which are skipped."""
        if folders["train"] is not None:
            self.passed[BESIDE] += len({*_class_folders(self.dir).values()} - {*folders.values()})

    def _pictures(self, folder: Path, classes: list[str]) -> FileSamples:
        files: list[Path] = []
        labels: list[int] = []
        named = _class_folders(folder)
        for number, name in enumerate(classes):
            members, passed = picture_files(named[name]) if name in named else FoundPictures([], Counter())
            files += members
            labels += [number] * len(members)
            self.passed += passed
        self.passed[LOOSE] += _loose(folder)
        if not files:
            loose = _loose(folder)
            raise DataError(
                _in_no_folder(loose) if loose else f"there are no pictures{_text_hint(folder)}",
                where=folder,
                next_step=f"put {'them' if loose else 'pictures'} ({', '.join(USUAL)}, ...) into {folder}/<class>/",
            )
        return FileSamples(files, torch.tensor(labels), self.dir)

    def _classes(self, train: Path, known: list[str] | None) -> list[str]:
        reserved = {name for names in SPLITS.values() for name in names} if train == self.dir else set()
        found = [name for name in _class_folders(train) if name.lower() not in reserved]
        for name in self.wanted or [] if known is None else []:
            if name not in found:
                raise DataError(
                    f"there is no class folder '{name}': {close_names(name, found)}",
                    where=train,
                    next_step="data.classes=[...] with names of class folders, or null for all",
                )
        if known is not None:
            strange = [name for name in found if name not in known]
            if strange and self.wanted is None:
                raise self._strange(strange, train, known, of_run=True)
            return known
        classes = sorted(set(self.wanted)) if self.wanted is not None else found
        if len(classes) < 2:
            loose = _loose(train)
            hint = f": {_in_no_folder(loose)}" if loose else _text_hint(train)
            raise DataError(
                f"a classification needs two classes, but there is {_said(classes)}{hint}",
                where=train,
                next_step=f"put the pictures into a folder for each class{_table_step(train) if loose else ''}",
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
                next_step="move the pictures of one into the other",
            )
    return dict(sorted(folders.items()))


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((f for f in sorted(folder.iterdir()) if f.is_dir() and f.name.lower() in names), None)


def _said(classes: list[str]) -> str:
    return f"only one: '{classes[0]}'" if classes else "none"


def _loose(folder: Path) -> int:
    """Number of pictures beside the class folders."""
    return sum(it.suffix.lower() in suffixes() for it in folder.iterdir() if it.is_file())


def _in_no_folder(loose: int) -> str:
    return f"{loose:,} pictures are in no class folder" if loose > 1 else "one picture is in no class folder"


def _table_step(folder: Path) -> str:
    """Next step for pictures beside a table, which probably lists their classes."""
    table = next((file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLES), None)
    said = "" if table is None else setting_of("data.file", table)
    return f"; or {said} data=image_csv data.target_columns=[<column of the class>]" if said else ""


def _text_hint(folder: Path) -> str:
    text = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in {".csv", ".tsv", ".txt", ".jsonl"})
    return f" (but there is text: {text[0]}; this data is for pictures)" if text else ""
