"""What a number was measured on."""

import datetime
import json
import os
from pathlib import Path
from typing import Any

from frostline.record import installed_versions

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor by its own name, cores that this process may use, versions, date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line for line in lines if line.startswith("flags")), "")
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "amx_bf16": "amx_bf16" in flags,
        "versions": installed_versions(),
        "date": datetime.date.today().isoformat(),
    }


def write_result(name: str, rows: Any) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    return path
