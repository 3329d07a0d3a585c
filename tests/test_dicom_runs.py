"""A whole run in this process on DICOM files: trained, predicted, and free of what identifies a person."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest

from compared import record_of
from conftest import DEVICE, Answer

FILE = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"


def test_scans_are_learned_and_no_name_is_stored(program: Callable[..., Answer], tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    for kind, by in (("dark", 0), ("bright", 150)):
        (folder / kind).mkdir(parents=True)
        for number in range(10):
            data = pydicom.dcmread(FILE)
            data.PatientName = "Doe^Jane"
            data.PixelData = (data.pixel_array + by + number).astype(np.int16).tobytes()
            data.save_as(folder / kind / f"{number}.dcm")
    run = tmp_path / "run"
    own = ["data=dicom_folder", f"data.dir={folder}", "data.image_size=16", "data.grey_range=soft_tissue"]
    answer = program("train", *own, "schedule=head_only", "logger=none", *DEVICE, f"run_dir={run}")
    assert answer.code == 0, answer.err
    assert "20 DICOM pictures are shown by the range -160 to 240" in answer.out
    assert record_of(run)["metrics"]["test/accuracy"] == 1.0
    answer = program("predict", f"run={run}", f"input={folder}", f"output={tmp_path / 'predicted.csv'}")
    assert answer.code == 0, answer.err
    cache = Path(os.environ["FROSTLINE_CACHE_DIR"])
    written = [file for file in [*run.rglob("*"), *cache.rglob("*"), tmp_path / "predicted.csv"] if file.is_file()]
    assert len(written) > 4
    assert not [file for file in written if b"Doe" in file.read_bytes()]
    tables = [pq.read_table(file).to_pydict() for file in run.rglob("*.parquet")]  # compressed
    assert tables
    assert "Doe" not in repr(tables)


def test_a_missing_library_is_named(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("a", "b"):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        (tmp_path / "scans" / kind / "1.dcm").write_bytes(FILE.read_bytes())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    answer = program("train", "data=image_folder", f"data.dir={tmp_path / 'scans'}", *DEVICE)
    assert answer.code == 1
    assert 'pip install "frostline[dicom]"' in answer.err
