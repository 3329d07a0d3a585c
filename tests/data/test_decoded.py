"""Decoded pictures that are kept: the same bits, decoded once, never half, and done without where there is no room."""

import errno
import gc
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from conftest import Answer
from datasets_made import data as data_of
from datasets_made import parquet_pictures
from forked import started
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures import cifar
from frostline.data.pictures import sources as pictures
from frostline.data.pictures.image_folder import ImageFolder
from frostline.data.pictures.packed import PackedPictures
from frostline.data.pictures.reading import read_picture
from frostline.data.pictures.sources import FilePictures, keep_or_hold
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.classes import Classes
from frostline.errors import DataError
from frostline.storage import entry
from frostline.storage.store import Store

SPEC = ImageSpec(size=16, resize=18, mean=(0, 0, 0), std=(1, 1, 1))
SIZES = [(40, 20), (20, 30), (25, 25), (90, 18), (18, 18), (31, 29)]
ROOM = 10**8


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_pictures(folder: Path) -> list[Path]:
    """Write pictures of several sizes and modes, one taken with the camera on its side."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(SIZES):
        noise(size, number).save(folder / f"{number}.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    noise((30, 20), 6).save(folder / "side.jpg", exif=exif)
    noise((30, 20), 7).save(folder / "side.png", exif=exif)
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(folder / "sixteen.png")
    clear = noise((22, 33), 8).convert("RGBA")
    clear.putalpha(100)
    clear.save(folder / "transparent.png")
    return sorted(folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in turn."""
    seen: list[Path] = []

    def counted(file: Path, spec: ImageSpec, *more: Any) -> torch.Tensor:
        seen.append(file)
        return read_picture(file, spec, *more)

    monkeypatch.setattr(pictures, "read_picture", counted)
    return seen


def cache(tmp_path: Path, room: int = ROOM, **options: bool) -> SampleCache:
    return SampleCache(Store(tmp_path / "cache", room, "decoded"), **options)


def files_of(folder: Path) -> FilePictures:
    files = sorted(folder.iterdir())
    return FilePictures(files, torch.arange(len(files)), root=folder, spec=SPEC)


def kept(folder: Path, where: SampleCache) -> FilePictures:
    made = files_of(folder)
    keep_or_hold([made], where, "mine")
    return made


def require_same(kept: FilePictures, folder: Path) -> None:
    """As each file decodes now."""
    fresh = files_of(folder)
    for place, file in enumerate(fresh.files):
        whole, sizes = kept.fetch([place], whole=True)
        assert sizes is None
        assert torch.equal(whole[0], read_picture(file, SPEC))
    places = list(range(len(fresh.files)))[::-1]
    for batch in (places, [2, 2], [0, 1]):
        for whole in (True, False):
            (mine, mine_sizes), (its, its_sizes) = (p.fetch(batch, whole=whole) for p in (kept, fresh))
            assert torch.equal(mine, its)
            assert (mine_sizes is None) == (its_sizes is None)
            assert mine_sizes is None or its_sizes is None or torch.equal(mine_sizes, its_sizes)


# --- folders ---


def test_kept_pictures_are_those_that_decode_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    first = kept(folder, cache(tmp_path))
    assert first.in_memory
    assert isinstance(first._decoded, PackedPictures)
    require_same(first, folder)


def test_a_second_run_decodes_nothing(folder: Path, tmp_path: Path, decoded: list[Path]) -> None:
    kept(folder, cache(tmp_path))
    assert sorted(decoded) == sorted(folder.iterdir())
    decoded.clear()
    again = kept(folder, cache(tmp_path))
    again.fetch([0, 3], whole=True)
    assert decoded == []
    require_same(again, folder)


def test_another_size_or_filter_is_another_entry(folder: Path, tmp_path: Path, decoded: list[Path]) -> None:
    for spec in (SPEC, SPEC.at(20), ImageSpec(16, 18, (0, 0, 0), (1, 1, 1), "bicubic")):
        files = sorted(folder.iterdir())
        made = FilePictures(files, torch.arange(len(files)), root=folder, spec=spec)
        decoded.clear()
        made.keep(cache(tmp_path), "mine")
        assert len(decoded) == len(files)
        assert torch.equal(made.fetch([1], whole=True)[0][0], read_picture(files[1], spec))


@pytest.mark.parametrize("way", ["kept", "held", "streamed"])
def test_a_picture_that_is_exchanged_after_it_was_hashed_is_never_taken_for_itself(
    way: str, folder: Path, tmp_path: Path
) -> None:
    """As a synchronising folder does while a run begins: the next run, on whole data, would find another's pixels."""
    made, first = files_of(folder), sorted(folder.iterdir())[0]
    assert made.content
    before = first.read_bytes()
    noise((30, 30), 99).save(first)
    ways: dict[str, Callable[[], object]] = {
        "kept": lambda: made.keep(cache(tmp_path), "mine"),
        "held": made.hold,
        "streamed": lambda: made.fetch([0], whole=True),
    }
    with pytest.raises(DataError, match="a picture changed while the data was read") as refused:
        ways[way]()
    assert refused.value.where == first
    first.write_bytes(before)
    require_same(kept(folder, cache(tmp_path)), folder)


def test_what_was_decoded_first_is_what_is_hashed(folder: Path) -> None:
    made, first = files_of(folder), sorted(folder.iterdir())[0]
    expected = files_of(folder).content
    made.hold()
    noise((30, 30), 99).save(first)
    assert made.content == expected


def test_a_file_that_changed_is_seen(folder: Path, tmp_path: Path) -> None:
    before = kept(folder, cache(tmp_path))
    first = sorted(folder.iterdir())[0]
    noise(SIZES[0], 99).save(first)
    again = kept(folder, cache(tmp_path))
    require_same(again, folder)
    assert not torch.equal(again.fetch([0], whole=True)[0], before.fetch([0], whole=True)[0])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 8)


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("name", ["rows.bin", "lengths.bin"])
def test_damage_is_found_and_decoded_anew(
    folder: Path, tmp_path: Path, decoded: list[Path], damage: Callable[[Path], None], name: str
) -> None:
    kept(folder, cache(tmp_path))
    (file,) = (tmp_path / "cache").rglob(name)
    damage(file)
    decoded.clear()
    with pytest.warns(UserWarning, match="damaged and will be computed again"):
        again = kept(folder, cache(tmp_path))
    assert sorted(decoded) == sorted(folder.iterdir())
    require_same(again, folder)
    decoded.clear()
    kept(folder, cache(tmp_path))
    assert decoded == []


def test_regions_are_bounded_by_bytes_and_made_anew_one_by_one(
    folder: Path, tmp_path: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 4,096 pixels a region of 256 pictures would be 13 GB."""
    monkeypatch.setattr(entry, "REGION_BYTES", 4000)  # one picture of 18 pixels has 976 to 1,948
    first = kept(folder, cache(tmp_path))
    require_same(first, folder)
    regions = list((tmp_path / "cache").rglob("regions/*"))
    assert 4 <= len(regions) <= len(first.files)
    flip(next((tmp_path / "cache").rglob("rows.bin")))
    decoded.clear()
    with pytest.warns(UserWarning, match="damaged"):
        again = kept(folder, cache(tmp_path))
    assert 1 <= len(decoded) <= 4  # those of one region
    require_same(again, folder)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_means_going_on_in_memory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    where = cache(tmp_path)
    made = files_of(folder)
    keep_or_hold([made, files_of(folder)], where, "mine")
    said = capsys.readouterr().err
    assert said.count("decoded samples are not cached: No space left on device") == 1
    assert "next:" in said
    assert made.in_memory
    require_same(made, folder)
    assert where.store is None


def test_a_full_disk_and_no_memory_means_decoding_when_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[Path]
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(pictures, "MEMORY_BYTES", 10)
    made = kept(folder, cache(tmp_path))
    assert not made.in_memory
    assert decoded == []
    require_same(made, folder)


def test_more_than_half_of_the_limit_is_not_kept(folder: Path, tmp_path: Path) -> None:
    kept(folder, cache(tmp_path))
    (listed,) = Store(tmp_path / "cache", 0).entries()
    roomy, tight = (cache(tmp_path / name, 2 * listed.num_bytes + extra) for name, extra in (("a", 0), ("b", -2)))
    for where in (roomy, tight):
        require_same(kept(folder, where), folder)
    assert roomy.store is not None
    assert tight.store is None


def test_a_picture_that_is_not_as_large_as_its_file_says_is_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "resized_size", lambda size, resize: (resize, resize))
    require_same(kept(folder, cache(tmp_path)), folder)
    assert "a picture is not as large as its file says" in capsys.readouterr().err


def test_a_broken_picture_is_named_and_hurts_no_later_run(folder: Path, tmp_path: Path, decoded: list[Path]) -> None:
    broken = folder / "3.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])  # its head still tells the size
    with pytest.raises(DataError, match="does not decode") as refused:
        kept(folder, cache(tmp_path))
    assert refused.value.where == broken
    with pytest.raises(DataError, match="does not decode"):  # what was left by the first time does not pass for whole
        kept(folder, cache(tmp_path))
    broken.write_bytes(b"")
    with pytest.raises(DataError, match="does not decode") as refused:
        kept(folder, cache(tmp_path))
    assert refused.value.where == broken
    broken.write_bytes(whole)
    require_same(kept(folder, cache(tmp_path)), folder)


def test_a_file_that_may_not_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    made = files_of(folder)
    gone = made.files[4]
    gone.unlink()
    with pytest.raises(DataError, match="does not decode") as refused:
        made.keep(cache(tmp_path), "mine")
    assert refused.value.where == gone


def test_without_a_store_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    made = kept(folder, SampleCache(None))
    assert made.in_memory
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (300, 300), (640, 320), (301, 200), (90, 50), (3000, 7),
                                  (2, 90), (18, 19), (19, 18), (1, 1)])  # fmt: skip
@pytest.mark.parametrize("resize", [18, 224, 232])
def test_the_size_is_known_before_a_picture_is_decoded(tmp_path: Path, size: tuple[int, int], resize: int) -> None:
    Image.new("RGB", size).save(tmp_path / "it.png")
    found = read_picture(tmp_path / "it.png", ImageSpec(16, resize, (0, 0, 0), (1, 1, 1))).shape[1:]
    assert sorted(found) == list(pictures.resized_size(size, resize))


def test_a_set_of_pictures_is_as_it_will_be_to_later_runs(tmp_path: Path) -> None:
    """A resume compares fingerprints: one that changes makes runs from before unfit."""
    for name in ("a.jpg", "b.bmp"):
        (tmp_path / name).write_bytes(name.encode() * 40_000)
    files = [tmp_path / "a.jpg", tmp_path / "b.bmp"]
    made = FilePictures(files, torch.tensor([0, 1]), root=tmp_path, spec=SPEC)
    assert made.fingerprint(Classes()) == "9cd6a46e7195418a4d383d37bef61eb8"
    arrays = pictures.ArrayPictures(torch.arange(48).byte().view(4, 3, 2, 2), torch.tensor([0, 1, 0, 1]))
    assert arrays.fingerprint(Classes()) == "b022a1603ac466e2a4a6ebd135b984eb"


# --- parquet ---


def parquet(file: Path, number: int = 30, broken: int | None = None, seed: int = 0) -> Path:
    encoded = []
    for row in range(number):
        stream = io.BytesIO()
        noise((8, 8), seed + row).save(stream, "png")
        encoded.append({"bytes": stream.getvalue()[:50] if row == broken else stream.getvalue(), "path": None})
    labels = [row % 3 for row in range(number)]
    pq.write_table(pa.table({"image": encoded, "label": labels}), file)
    return file


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that were decoded, in turn."""
    seen: list[int] = []
    decode = cifar._decode

    def counted(file: Path, row: int, encoded: Any) -> torch.Tensor:
        seen.append(row)
        return decode(file, row, encoded)

    monkeypatch.setattr(cifar, "_decode", counted)
    return seen


def test_a_parquet_file_is_decoded_once(tmp_path: Path, rows: list[int]) -> None:
    file = parquet(tmp_path / "train.parquet")
    plain, names = parquet_pictures(file)
    first, _ = parquet_pictures(file, cache(tmp_path))
    rows.clear()
    again, its_names = parquet_pictures(file, cache(tmp_path))
    assert rows == [0]  # which says the size of all
    assert names == its_names == ["0", "1", "2"]
    for kept_pictures in (first, again):
        assert torch.equal(kept_pictures.pixels, plain.pixels)
        assert torch.equal(kept_pictures.labels, plain.labels)
        assert kept_pictures.fingerprint(Classes()) == plain.fingerprint(Classes())


def test_a_parquet_file_that_changed_is_seen(tmp_path: Path) -> None:
    parquet_pictures(parquet(tmp_path / "train.parquet"), cache(tmp_path))
    again, _ = parquet_pictures(parquet(tmp_path / "train.parquet", seed=100), cache(tmp_path))
    assert torch.equal(again.pixels, parquet_pictures(tmp_path / "train.parquet")[0].pixels)


def test_a_broken_row_is_named_each_time(tmp_path: Path) -> None:
    file = parquet(tmp_path / "train.parquet", broken=17)
    for _ in range(2):
        with pytest.raises(DataError, match="picture 17 does not decode") as refused:
            parquet_pictures(file, cache(tmp_path))
        assert refused.value.where == file


def test_a_full_disk_means_parquet_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = parquet(tmp_path / "train.parquet")
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert torch.equal(parquet_pictures(file, cache(tmp_path))[0].pixels, parquet_pictures(file)[0].pixels)
    assert "decoded samples are not cached: No space left" in capsys.readouterr().err


# --- what people see ---


def test_a_bar_counts_what_is_decoded_where_it_is_wanted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = len(list(folder.iterdir()))
    for shows, ends in ((False, ""), (True, f"{number} of {number} samples\n")):
        kept(folder, cache(tmp_path / str(shows), shows=shows))
        said = capsys.readouterr().err
        assert said.endswith(ends)
        assert ("decoding #" in said) == shows
    kept(folder, cache(tmp_path / "True", shows=True))
    assert capsys.readouterr().err == "", "nothing is decoded"


Program = Callable[..., Answer]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        write_pictures(tmp_path / "pets" / name)
    return tmp_path / "pets"


def dry(program: Program, classes: Path, *own: str) -> None:
    answer = program("train", "data=image_folder", f"data.dir={classes}", "dry_run=true", "data.image_size=16",
                     "logger=none", *own)  # fmt: skip
    assert answer.code == 0, answer.err


def test_a_run_keeps_its_pictures_and_they_are_listed_and_cleared(
    program: Program, classes: Path, tmp_path: Path, decoded: list[Path]
) -> None:
    own = f"cache.dir={tmp_path / 'kept'}"
    dry(program, classes, own)
    assert len(decoded) == 2 * (len(SIZES) + 4)
    decoded.clear()
    dry(program, classes, own, "optimizer.lr=0.5")
    assert decoded == []
    (row,) = [line.split() for line in program("cache", f"dir={tmp_path / 'kept'}").out.splitlines() if "pets" in line]
    assert row[:5] == ["decoded", "16", "pixels", "pets", "20"]
    gc.collect()  # what the runs of this process held
    assert "1 removed" in program("cache", f"dir={tmp_path / 'kept'}", "clear=true").out
    assert list((tmp_path / "kept").rglob("*.bin")) == []


def test_never_writes_nothing(program: Program, classes: Path, tmp_path: Path) -> None:
    dry(program, classes, "cache=never", f"cache.dir={tmp_path / 'kept'}")
    assert not (tmp_path / "kept").exists()


def test_data_on_its_own_keeps_nothing(classes: Path, spec: ImageSpec, common: dict[str, Any]) -> None:
    before = set(Path(os.environ["FROSTLINE_CACHE_DIR"]).rglob("*"))
    data = data_of(ImageFolder, spec, dir=str(classes), classes=None, grey_range=None, **common)
    assert data.train_split.source.in_memory
    assert set(Path(os.environ["FROSTLINE_CACHE_DIR"]).rglob("*")) == before


# --- several processes ---

READER = """
import sys, time, torch
from pathlib import Path
from frostline.data.pictures import sources as pictures
from frostline.data.sample_cache import SampleCache
from frostline.storage import entry
from frostline.storage.store import Store
from frostline.contracts.specs import ImageSpec

entry.REGION = 2
read, seen = pictures.read_picture, []
def counted(file, spec, *more):
    seen.append(file)
    time.sleep(0.1)
    return read(file, spec, *more)
pictures.read_picture = counted
folder, root = map(Path, sys.argv[1:])
files = sorted(folder.iterdir())
spec = ImageSpec(16, 18, (0, 0, 0), (1, 1, 1))
made = pictures.FilePictures(files, torch.arange(len(files)), root=folder, spec=spec)
_ = made.content
print("ready", flush=True)
sys.stdin.readline()
made.keep(SampleCache(Store(root, 10**8, "decoded")), "mine")
assert all(torch.equal(made.fetch([n], whole=True)[0][0], read(file, spec)) for n, file in enumerate(files))
print(len(seen), flush=True)
"""


@pytest.mark.process
def test_two_processes_share_the_work(folder: Path, tmp_path: Path) -> None:
    readers = [started("-c", READER, str(folder), str(tmp_path / "cache")) for _ in range(2)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        reader.stdin.write("\n")
        reader.stdin.flush()
    counts = [int(reader.communicate()[0]) for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert sum(counts) == len(list(folder.iterdir()))
    assert min(counts) > 0
