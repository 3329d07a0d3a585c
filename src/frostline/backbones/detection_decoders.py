"""Decoders of networks that find objects, with the library's loss: what a pretrained network has behind its blocks.

Shapes: maps (B, D, H, W) from fine to coarse; Q queries, each with K class logits and a box of centre, width and height
as shares of the picture.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.backbones.detection_blocks import Passed
from frostline.backbones.transformers_files import quiet

CLASSES = re.compile(r"(^|[._])(class_embed|enc_score_head)\.")  # layers with a row for each class
OF_BLOCKS = ("model.backbone.", "model.encoder.", "model.encoder_input_proj.")
# The library's factors of loss terms where it applies them outside its dict of terms, by the name of the term.
FACTORS = {"ce": "class_loss_coefficient", "bbox": "bbox_loss_coefficient", "giou": "giou_loss_coefficient"}

Labels = list[dict[str, Tensor]]


class Found(NamedTuple):
    """logits: (B, Q, K). boxes: (B, Q, 4). terms: of the loss by kind, as sums over the objects of the batch; empty
    without labels."""

    logits: Tensor
    boxes: Tensor
    terms: Mapping[str, Tensor]


class OwnDecoder(nn.Module):
    """network: the library's whole network, whose blocks are taken away."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.single = not hasattr(network.model, "encoder")  # it takes one map
        if self.single:
            network.model.backbone = Passed()
        else:
            network.model.backbone = network.model.encoder = network.model.encoder_input_proj = None
            for name in ("class_embed", "bbox_embed"):  # second names of the decoder's own layers
                network._modules.pop(name, None)
        for name in ("reg_scale", "up"):  # D-FINE's constants, which the library stores as parameters
            if name in getattr(network.model.decoder, "_parameters", {}):
                value = network.model.decoder._parameters.pop(name)
                network.model.decoder.register_buffer(name, value.detach())
        self.network = network

    def forward(self, maps: list[Tensor], labels: Labels | None = None) -> Found:
        """labels: `class_labels` (N,) and `boxes` (N, 4) of each picture."""
        if self.single:
            given = self.network(maps[0], labels=labels)
        else:
            given = self.network(None, inputs_embeds=maps[0], encoder_outputs=(maps,), labels=labels)
        return Found(given.logits, given.pred_boxes, {} if labels is None else self._terms(given.loss_dict, labels))

    def _terms(self, terms: Mapping[str, Tensor], labels: Labels) -> dict[str, Tensor]:
        """Sum the library's terms of all layers, query groups and denoising by kind: `loss_bbox_aux_0` is one of
        `bbox`. Those that only monitor (`cardinality_error`) are left out."""
        number = self._divisor(labels)
        found: dict[str, Tensor] = {}
        for name, value in terms.items():
            loss, _, rest = name.partition("_")
            kind = rest.partition("_")[0]
            if loss == "loss":
                factor = getattr(self.network.config, FACTORS[kind]) if self.single else 1.0
                found[kind] = found.get(kind, 0.0) + value * (factor * number)
        return found

    def _divisor(self, labels: Labels) -> float:
        """The number of objects by which the library divides: of this rank, or with groups of queries the mean over the
        ranks."""
        objects = sum(len(own["class_labels"]) for own in labels)
        if not self.single:
            return max(objects, 1)
        groups, ranks = self.network.config.group_detr if self.training else 1, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ranks = torch.distributed.get_world_size()
            total = torch.tensor(objects, dtype=torch.float, device=labels[0]["boxes"].device)
            torch.distributed.all_reduce(total)
            objects = int(total)
        return max(objects * groups / ranks, 1) / groups


class DecoderMaker:
    """Makes a decoder for a number of classes: layers with a row for each class are new, as the library initialises
    them, the others have the weights of `network`."""

    def __init__(self, library: Any, network: Any) -> None:
        self.library = library
        self.config = network.config
        self.weights = {
            name: value.detach()
            for name, value in network.state_dict().items()
            if not name.startswith(OF_BLOCKS) and not CLASSES.search(name)
        }
        self.new = sorted(name for name in network.state_dict() if CLASSES.search(name))

    def __call__(self, num_outputs: int) -> OwnDecoder:
        config = copy.deepcopy(self.config)
        config.num_labels = num_outputs
        with quiet(self.library):
            network = self.library.AutoModelForObjectDetection.from_config(config, dtype=torch.float32)
        network.load_state_dict(self.weights, strict=False)  # blocks and class layers are missing
        return OwnDecoder(network.train())
