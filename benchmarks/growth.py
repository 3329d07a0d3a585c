"""Measure how time and memory of a phase grow with the number of pictures.

python benchmarks/growth.py <folder of CIFAR-10> [number of training pictures ...]

The bundled network through `frostline train`, one process per number, plan and set:
    arrays   `data.train_limit` pictures of CIFAR-10's Parquet file at 32 pixels, which is always decoded as a whole
    folder   JPEGs of 96 pixels seen at 64, decoded anew each time, as for a set that fits neither the cache nor memory
             (MEMORY_BYTES is set to 0); no workers, so that one process holds everything
    kept     the same folder, with decoded pictures and outputs of frozen blocks cached in the memory-mapped store
Two plans: `head` (two epochs of the head on frozen blocks) and `all` (one epoch of everything). Seconds are those of
the phase, including the filling of the cache. Two peaks of memory: the one in run.json (resident, including pages of
mapped files, which the system can reclaim), and anonymous pages alone, which it cannot; sampled every 20 ms.

Exponents are least-squares slopes in log-log space. Aim: 1 for time, 0 for memory when streaming.
"""

import io
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

NUMBERS = (1_000, 4_000, 16_000, 48_000)
DIFFERENT = 500  # distinct JPEGs; all other names are links to them
SIDE, SEEN_AT, CLASSES = 96, 64, 10
SPLITS = ["data.val_fraction=0.02", "trainer.limit_test_batches=1"]  # small, as only the training split counts
PLANS = {
    "head": ["schedule=head_only", "schedule.every_phase.solve=false", "schedule.phases.head.epochs=2"],
    "all": ["schedule=full", "schedule.phases.all.epochs=1"],
}
SETS = {"arrays": ["cache=never"], "folder": ["cache=never", "data.num_workers=0"], "kept": ["cache=auto"]}
COMMON = ["model=bundled", "trainer=cpu", "logger=none", "callbacks.progress=null", *SPLITS]
MEASURES = {"seconds": "time", "peak_memory_bytes": "resident", "anonymous_bytes": "anonymous"}


def main(cifar: Path, numbers: tuple[int, ...]) -> None:
    from machine import write_result

    rows: list[dict[str, Any]] = []
    for number in numbers:
        for name in SETS:
            with tempfile.TemporaryDirectory() as scratch:
                data = _data(name, cifar.absolute(), Path(scratch), number)
                for plan in PLANS:
                    rows.append(
                        {"set": name, "plan": plan, **run(Path(scratch), [*data, *SETS[name], *PLANS[plan]], name)}
                    )
                    show(rows[-1])
    fits = exponents(rows)
    print(write_result("growth", {"runs": rows, "exponents": fits}))


def _data(name: str, cifar: Path, scratch: Path, number: int) -> list[str]:
    if name == "arrays":
        return ["data=cifar10", f"data.dir={cifar}", f"data.train_limit={number}"]
    pictures = scratch / "pictures"
    written(pictures, number + number // 20)  # a surplus for validation and test
    own = ["data=image_folder", f"data.dir={pictures}", f"data.train_limit={number}", f"data.image_size={SEEN_AT}"]
    return [*own, "data.test_fraction=0.02", f"cache.dir={scratch / 'cache'}"]


def written(folder: Path, number: int) -> None:
    """Write a folder per class, with few distinct files under many names."""
    import torch
    from torchvision.transforms.functional import to_pil_image

    generator = torch.Generator().manual_seed(0)
    first: list[Path] = []
    for place in range(number):
        file = folder / str(place % CLASSES) / f"{place}.jpg"
        if place < DIFFERENT:
            coarse = torch.rand(1, 3, 8, 8, generator=generator)
            picture = torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")[0]
            encoded = io.BytesIO()
            to_pil_image(picture).save(encoded, "JPEG", quality=90)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded.getvalue())
            first.append(file)
        else:
            os.link(first[place % DIFFERENT], file)


def run(scratch: Path, overrides: list[str], name: str) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=scratch))
    command = [sys.executable, __file__, "--train", name, str(folder / "peak.json")]
    subprocess.run([*command, *COMMON, *overrides, f"run_dir={folder / 'run'}"], check=True, stdout=subprocess.DEVNULL)
    record = json.loads((folder / "run" / "run.json").read_text())
    (phase,) = record["phases"]
    number = record["data"]["num_train"]
    return {
        "number": number,
        "seconds": phase["seconds"],
        "seconds_per_picture": phase["seconds"] / number,
        "samples_per_second": phase["samples_per_second"],
        "setup_seconds": record["seconds"]["setup"],
        "cached": phase["cached"],
        "peak_memory_bytes": record["peak_memory_bytes"],
        "anonymous_bytes": json.loads((folder / "peak.json").read_text()),
    }


def show(row: dict[str, Any]) -> None:
    resident, anonymous = (row[measure] / 2**20 for measure in ("peak_memory_bytes", "anonymous_bytes"))
    print(f"{row['set']:7} {row['plan']:5} {row['number']:>7,} pictures   {row['seconds']:8.2f} s   "
          f"{1e3 * row['seconds_per_picture']:7.3f} ms each   setup {row['setup_seconds']:6.2f} s   "
          f"peak {resident:7,.0f} MiB, {anonymous:7,.0f} anonymous", flush=True)  # fmt: skip


def exponents(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for name in SETS:
        for plan in PLANS:
            own = [row for row in rows if (row["set"], row["plan"]) == (name, plan)]
            if len(own) < 2:
                continue
            fits = {label: slope(own, measure) for measure, label in MEASURES.items()}
            last = {f"{label}, last two": slope(own[-2:], measure) for measure, label in MEASURES.items()}
            found.append({"set": name, "plan": plan, **fits, **last})
            print(f"{name:7} {plan:5} exponents   {'   '.join(f'{k} {v:.2f}' for k, v in (fits | last).items())}")
    return found


def slope(rows: list[dict[str, Any]], measure: str) -> float:
    """Least-squares slope of log(measure) over log(number)."""
    pairs = [(math.log(row["number"]), math.log(row[measure])) for row in rows]
    x, y = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    return sum((a - x) * (b - y) for a, b in pairs) / sum((a - x) ** 2 for a, _ in pairs)


# --- in a process of its own ---


def train(name: str, file: Path, overrides: list[str]) -> None:
    """Run `frostline train`, and write its peak of anonymous memory to `file`."""
    from frostline.cli.main import main as door

    threading.Thread(target=_watched, args=(file,), daemon=True).start()
    if name == "folder":
        from frostline.data.pictures import sources as pictures

        pictures.MEMORY_BYTES = 0  # as for a set that exceeds it
    sys.argv[1:] = overrides
    door("train")


def _watched(file: Path) -> None:
    peak = 0
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
        if now > peak:
            peak = now
            file.write_text(json.dumps(peak))
        time.sleep(0.02)


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        train(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        main(Path(sys.argv[1]), tuple(int(number) for number in sys.argv[2:]) or NUMBERS)
