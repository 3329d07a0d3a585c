"""Copy the backbone of a run's best checkpoint into the package:

python benchmarks/bundle_weights.py <run folder of experiment=pretrain_bundled>
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from frostline.paths import bundled_weights

PREFIX = "backbone.blocks."


def main(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    blocks = {
        # Half precision halves the file, at no cost in test accuracy (see bundled.md).
        key.removeprefix(PREFIX): value.half().contiguous() if value.is_floating_point() else value
        for key, value in state.items()
        if key.startswith(PREFIX)
    }
    save_file(blocks, bundled_weights())
    print(f"{len(blocks)} tensors, {bundled_weights().stat().st_size:,} bytes in {bundled_weights()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
