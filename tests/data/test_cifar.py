"""CIFAR in both layouts, whole and broken, and its real files where they lie."""

import hashlib
import io
import json
import pickle
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torchvision import datasets

from datasets_made import data as data_of
from datasets_made import parquet_pictures
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.module import Data
from frostline.data.pictures.cifar import Cifar
from frostline.errors import DataError

NAMES = ["airplane", "automobile", "bird"]
N = 24  # pictures in each file; number i is of class i % 3 and has one colour everywhere
BLUE = {"train": 9, "test": 7}


def colour(number: int, split: str = "test") -> tuple[int, int, int]:
    return 10 * number, 255 - 10 * number, BLUE[split]


def encoded(number: int, split: str = "test") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), colour(number, split)).save(stream, "png")
    return stream.getvalue()


def write_parquet(file: Path, pictures: list[Any], *, label: str = "label", names: list[str] | None = NAMES) -> None:
    """As `datasets` writes them: a struct of bytes and path, and the class names in the schema's metadata."""
    images = [{"bytes": picture, "path": f"{number}.png"} for number, picture in enumerate(pictures)]
    table = pa.table({
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        label: pa.array([number % 3 for number in range(len(pictures))], pa.int64()),
    })  # fmt: skip
    features = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    pq.write_table(table.replace_schema_metadata(metadata), file)


def write_pair(folder: Path) -> None:
    for split in ("train", "test"):
        write_parquet(folder / f"{split}.parquet", [encoded(number, split) for number in range(N)])


@pytest.fixture
def make(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Callable[..., Data]:
    def made(variant: Any = "cifar10", folder: Path = tmp_path) -> Data:
        return data_of(Cifar, spec, variant=variant, dir=str(folder), **common)

    return made


def assert_pictures_are_numbered(data: Data) -> None:
    """The test split is the file's, in its order; training and validation share the other file."""
    assert data.test_split.index.tolist() == list(range(N))
    shared_out = sorted([*data.train_split.index.tolist(), *data.val_split.index.tolist()])
    assert shared_out == list(range(N))
    for name, split in (("test", data.test_split), ("train", data.train_split), ("train", data.val_split)):
        batch = split.__getitems__(list(range(len(split))))
        assert isinstance(batch, Batch)
        assert batch.inputs.shape == (len(split), 3, 32, 32)
        assert batch.inputs[:, :, 5, 20].tolist() == [list(colour(number, name)) for number in split.index.tolist()]
        assert batch.targets.tolist() == [number % 3 for number in split.index.tolist()]


# --- the Hugging Face layout ---


def test_parquet_files_are_read_with_the_names_of_their_classes(tmp_path: Path, make: Callable[..., Data]) -> None:
    write_pair(tmp_path)
    data = make()
    assert data.classes == NAMES
    assert_pictures_are_numbered(data)
    assert (data.describe()["name"], data.describe()["num_test"]) == ("cifar10", N)


def test_cifar100_takes_the_fine_labels(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    write_parquet(file, [encoded(number) for number in range(6)], label="fine_label")
    table = pq.read_table(file)
    pq.write_table(table.append_column("coarse_label", pa.array([0] * 6)), file)
    pictures, names = parquet_pictures(file)
    assert (pictures.labels.tolist(), names) == ([0, 1, 2, 0, 1, 2], NAMES)


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [encoded(number) for number in range(6)], names=None)
    assert parquet_pictures(tmp_path / "train.parquet")[1] == ["0", "1", "2"]


def test_grey_and_palette_pictures_have_three_channels(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (32, 32), 90).save(stream, "png")
    write_parquet(tmp_path / "train.parquet", [stream.getvalue(), *map(encoded, range(1, 6))])
    assert parquet_pictures(tmp_path / "train.parquet")[0].pixels[0, :, 0, 0].tolist() == [90, 90, 90]


def test_parts_with_other_classes_are_refused(tmp_path: Path, make: Callable[..., Data]) -> None:
    write_pair(tmp_path)
    write_parquet(tmp_path / "test.parquet", [encoded(number) for number in range(N)], names=["cat", "dog", "cow"])
    with pytest.raises(DataError, match="different classes"):
        make()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_named(tmp_path: Path, make: Callable[..., Data], share: float) -> None:
    write_pair(tmp_path)
    whole = (tmp_path / "test.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="cannot be read as pictures") as refused:
        make()
    assert refused.value.where == tmp_path / "test.parquet"


@pytest.mark.parametrize("broken", [b"not a picture", encoded(5)[:40], None])
def test_a_row_that_does_not_decode_is_named(tmp_path: Path, broken: bytes | None) -> None:
    pictures: list[Any] = [encoded(number) for number in range(9)]
    pictures[5] = broken
    write_parquet(tmp_path / "train.parquet", pictures)
    with pytest.raises(DataError, match="picture 5 does not decode") as refused:
        parquet_pictures(tmp_path / "train.parquet")
    assert refused.value.where == tmp_path / "train.parquet"


def test_pictures_of_several_sizes_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (31, 32)).save(stream, "png")
    write_parquet(tmp_path / "train.parquet", [encoded(0), stream.getvalue(), encoded(2)])
    with pytest.raises(DataError, match="2 different sizes") as refused:
        parquet_pictures(tmp_path / "train.parquet")
    assert "image_folder" in refused.value.next_step


COLUMNS: dict[str, dict[str, Any]] = {
    "no image": {"picture": [encoded(0)] * 3, "label": [0, 1, 2]},
    "image is no struct": {"image": [encoded(0)] * 3, "label": [0, 1, 2]},
    "image without bytes": {"image": [{"path": "a.png"}] * 3, "label": [0, 1, 2]},
    "no label": {"image": [{"bytes": encoded(0)}] * 3},
    "label is text": {"image": [{"bytes": encoded(0)}] * 3, "label": ["cat", "dog", "cow"]},
    "label is missing once": {"image": [{"bytes": encoded(0)}] * 3, "label": [0, None, 2]},
    "no rows": {"image": pa.array([], pa.struct([("bytes", pa.binary())])), "label": pa.array([], pa.int64())},
}


@pytest.mark.parametrize("columns", COLUMNS)
def test_other_tables_are_refused_with_the_columns_they_need(tmp_path: Path, columns: str) -> None:
    pq.write_table(pa.table(COLUMNS[columns]), tmp_path / "train.parquet")
    with pytest.raises(DataError) as refused:
        parquet_pictures(tmp_path / "train.parquet")
    assert "`image` or `img` (bytes and path) and `label`" in refused.value.next_step


# --- torchvision's layout ---


def write_batches(root: Path) -> Path:
    """`cifar-10-batches-py/` with one batch to train on, of the same numbered pictures."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for file, split in (("data_batch_1", "train"), ("test_batch", "test")):
        colours = np.array([colour(number, split) for number in range(N)], dtype=np.uint8)
        batch = {"data": np.repeat(colours, 32 * 32, axis=1), "labels": [number % 3 for number in range(N)]}
        (folder / file).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}))
    return folder


@pytest.fixture
def small_set(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """torchvision expects what `write_batches` writes, checksums included."""
    folder = write_batches(tmp_path_factory.mktemp("sums"))
    md5 = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)


def download(monkeypatch: pytest.MonkeyPatch, instead: Callable[[Path], object]) -> list[Path]:
    """`instead` gets the folder to download into; the folders that it got."""
    asked: list[Path] = []

    def replacement(url: str, root: str, **_: Any) -> None:
        asked.append(Path(root))
        instead(Path(root))

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", replacement)
    return asked


@pytest.mark.usefixtures("small_set")
def test_torchvisions_layout_gives_the_same_pictures(tmp_path: Path, make: Callable[..., Data]) -> None:
    write_batches(tmp_path)
    data = make()
    assert data.classes == NAMES
    assert_pictures_are_numbered(data)


@pytest.mark.usefixtures("small_set")
def test_both_layouts_have_the_same_fingerprint(tmp_path: Path, make: Callable[..., Data]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_pair(tmp_path / "one")
    write_batches(tmp_path / "two")
    one, two = (make(folder=tmp_path / name).describe()["fingerprint"] for name in ("one", "two"))
    assert one == two


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_broken_file_is_not_taken_for_data(tmp_path: Path, make: Callable[..., Data], file: str) -> None:
    broken = write_batches(tmp_path) / file
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.raises(DataError, match="are broken") as refused:
        make()
    assert refused.value.where == tmp_path / "cifar-10-batches-py"
    assert "remove that folder" in refused.value.next_step


@pytest.mark.usefixtures("small_set")
def test_what_is_missing_is_downloaded_once(
    tmp_path: Path, make: Callable[..., Data], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = download(monkeypatch, write_batches)
    for _ in range(2):
        assert_pictures_are_numbered(make(folder=tmp_path / "new" / "cifar10"))
    assert len(asked) == 1
    assert [entry.name for entry in (tmp_path / "new" / "cifar10").iterdir()] == ["cifar-10-batches-py"]


def without_network(folder: Path) -> None:
    raise urllib.error.URLError("[Errno -3] Temporary failure in name resolution")


def cut_off(folder: Path) -> None:
    """As torchvision leaves it when the line breaks, or the archive is not what was expected."""
    (folder / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    (folder / "cifar-10-batches-py").mkdir()
    raise RuntimeError("File not found or corrupted.")


@pytest.mark.parametrize("failure", [without_network, cut_off])
@pytest.mark.parametrize(("variant", "base"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_a_failed_download_leaves_nothing_and_says_what_to_do(
    tmp_path: Path,
    make: Callable[..., Data],
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[Path], None],
    variant: str,
    base: str,
) -> None:
    download(monkeypatch, failure)
    with pytest.raises(DataError, match=f"{variant} is missing and cannot be downloaded") as refused:
        make(variant)
    assert list(tmp_path.iterdir()) == []
    for offered in ("train.parquet and test.parquet", base, "data=digits"):
        assert offered in refused.value.next_step


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, make: Callable[..., Data]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be downloaded") as refused:
        make(folder=tmp_path / "file" / "cifar10")
    assert refused.value.where == tmp_path / "file" / "cifar10"


# --- the real one ---


@pytest.mark.long
def test_the_real_test_part_has_ten_thousand_pictures_of_ten_classes(shared: Path) -> None:
    file = shared / "cifar10" / "test.parquet"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    pictures, names = parquet_pictures(file)
    assert pictures.pixels.shape == (10_000, 3, 32, 32)
    assert names == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert torch.bincount(pictures.labels).tolist() == [1000] * 10
    mean = pictures.pixels.float().mean((0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01)  # of the original set
