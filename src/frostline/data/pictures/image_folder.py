"""Your own pictures: a folder per class, with or without train/, val/ and test/ above."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from frostline.data.pictures.files import BESIDE, LOOSE, USUAL, FoundPictures, passed_note, picture_files, suffixes
from frostline.data.pictures.grey import Setting
from frostline.data.pictures.module import PictureData
from frostline.data.pictures.sources import FilePictures
from frostline.data.source import Sources
from frostline.data.tables.table import normalised
from frostline.errors import DataError, close_names
from frostline.faults import together
from frostline.paths import at_home
from frostline.quoting import setting_of

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class ImageFolder(PictureData):
    """classes: the class folders to use; null for all. Raises DataError."""

    chooses = "data.classes"
    named_by = "data.dir"
    divides = "folders train, val and test"

    def __init__(
        self, spec: Any, *, dir: str, classes: list[str | int] | None, grey_range: Setting, **common: Any
    ) -> None:
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.wanted = None if classes is None else [normalised(str(name)) for name in classes]
        self.passed = Counter[str]()  # files over, by why
        self.grey_range = grey_range
        super().__init__(spec, **common)

    def read(self) -> Sources:
        if not self.dir.is_dir():
            raise DataError(
                "there is no such data folder",
                where=self.dir,
                next_step="data.dir=<folder> that holds a folder of pictures for each class",
            )
        folders = {part: first_folder(self.dir, names) for part, names in PARTS.items()}
        train = folders["train"] or (folders["test"] if self.known_names is not None else None) or self.dir
        self._beside(folders)
        classes = self._classes(train)
        if self.known_names is None or self.wanted is None:
            for part in ("val", "test"):
                self._require_known(folders[part], self.known_names or [*_class_folders(train)])
        found = {"train": self._pictures(train, classes)}
        for part in ("val", "test"):
            folder = folders[part]
            if folder is not None:
                found[part] = found["train"] if folder == train else self._pictures(folder, classes)
        self.scale_grey(found.values(), self.grey_range)
        return Sources(classes, found["train"], found.get("val"), found.get("test"))

    def _beside(self, folders: dict[str, Path | None]) -> None:
        """Count the folders beside `train`, which are no part of the data."""
        if folders["train"] is not None:
            self.passed[BESIDE] += len({*_class_folders(self.dir).values()} - {*folders.values()})

    def _pictures(self, folder: Path, classes: list[str]) -> FilePictures:
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
        return FilePictures(files, torch.tensor(labels), root=self.dir, spec=self.spec)

    def notes(self) -> list[str]:
        return [*super().notes(), *passed_note(+self.passed)]

    def _classes(self, train: Path) -> list[str]:
        reserved = {name for names in PARTS.values() for name in names} if train == self.dir else set()
        found = [name for name in _class_folders(train) if name.lower() not in reserved]
        for name in self.wanted or [] if self.known_names is None else []:
            if name not in found:
                raise DataError(
                    f"there is no class folder '{name}': {close_names(name, found)}",
                    where=train,
                    next_step="data.classes=[...] with names of class folders, or null for all",
                )
        if self.known_names is not None:
            strange = [name for name in found if name not in self.known_names]
            if strange and self.wanted is None:
                raise self._strange(strange, train, self.known_names)
            return self.known_names
        classes = sorted(set(self.wanted)) if self.wanted is not None else found
        if len(classes) < 2:
            loose = _loose(train)
            hint = f": {_in_no_folder(loose)}" if loose else _text_hint(train)
            raise DataError(
                f"a classification needs two classes, and here {_said(classes)}{hint}",
                where=train,
                next_step=f"put the pictures into a folder for each class{_table_step(train) if loose else ''}",
            )
        return classes

    def _require_known(self, folder: Path | None, known: list[str]) -> None:
        strange = [name for name in _class_folders(folder) if name not in known] if folder is not None else []
        if strange and folder is not None:
            raise self._strange(strange, folder, known)

    def _strange(self, names: list[str], folder: Path, known: list[str]) -> DataError:
        return together(
            [
                DataError(
                    f"'{name}' is a class of this part, not of training: {close_names(name, known)}",
                    where=folder,
                    next_step="rename or remove that folder, or add it to the training split",
                )
                for name in names
            ],
            "class folders are unknown",
        )


def _class_folders(folder: Path) -> dict[str, Path]:
    """By name. Raises DataError if two have the same name after Unicode normalisation."""
    folders: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if folders.setdefault(normalised(path.name), path) != path:
            raise DataError(
                f"two class folders have the same name, '{normalised(path.name)}', spelled with other code points",
                where=folder,
                next_step="move the pictures of one into the other",
            )
    return dict(sorted(folders.items()))


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    return next((f for f in sorted(folder.iterdir()) if f.is_dir() and f.name.lower() in names), None)


def _said(classes: list[str]) -> str:
    return f"is one: '{classes[0]}'" if classes else "is none"


def _loose(folder: Path) -> int:
    """Pictures beside the class folders."""
    return sum(it.suffix.lower() in suffixes() for it in folder.iterdir() if it.is_file())


def _in_no_folder(loose: int) -> str:
    return f"{loose:,} pictures lie in no class folder" if loose > 1 else "one picture lies in no class folder"


def _table_step(folder: Path) -> str:
    """For pictures beside a table, which may well say their classes."""
    table = next((file for file in sorted(folder.iterdir()) if file.suffix.lower() in TABLES), None)
    said = "" if table is None else setting_of("data.file", table)
    return f"; or {said} data=image_csv data.target_columns=[<column of the class>]" if said else ""


def _text_hint(folder: Path) -> str:
    text = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in {".csv", ".tsv", ".txt", ".jsonl"})
    return f" (but there is text: {text[0]}; this data is for pictures)" if text else ""
