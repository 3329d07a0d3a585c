"""Tiny networks of transformers that find objects, saved as its files are on the hub."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

STAGES = ["stage2", "stage3", "stage4"]
RESNET = {
    "model_type": "rt_detr_resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 12, 16, 24],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": STAGES,
}
HGNET = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 16, 16, 16],
    "stage_mid_channels": [8] * 4,
    "stage_out_channels": [16] * 4,
    "hidden_sizes": [16] * 4,
    "depths": [1] * 4,
    "stage_num_blocks": [1] * 4,
    "stage_numb_of_layers": [1] * 4,
    "use_learnable_affine_block": True,
    "out_features": STAGES,
}
WINDOWS = {
    "model_type": "rf_detr_dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "num_windows": 2,
    "out_features": ["stage1", "stage3"],  # so that layer 4 is not used
}
SMALL = {
    "d_model": 16,
    "encoder_hidden_dim": 16,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "decoder_layers": 2,
    "decoder_in_channels": [16] * 3,
    "num_queries": 12,
    "num_denoising": 10,
}
MAPS = {"encoder_in_channels": [12, 16, 24], "decoder_n_points": 2}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rt_detr": ("RTDetrConfig", {"backbone_config": RESNET} | SMALL | MAPS),
    "rt_detr_v2": ("RTDetrV2Config", {"backbone_config": RESNET} | SMALL | MAPS),
    "d_fine": (
        "DFineConfig",
        {"backbone_config": HGNET, "hidden_size": 16, "encoder_in_channels": [16] * 3, "decoder_n_points": [2] * 3}
        | SMALL,
    ),
    "rf_detr": (
        "RfDetrConfig",
        {
            "backbone_config": WINDOWS,
            "d_model": 16,
            "decoder_ffn_dim": 16,
            "decoder_layers": 2,
            "decoder_self_attention_heads": 2,
            "decoder_cross_attention_heads": 2,
            "num_queries": 6,
            "group_detr": 2,
            "c2f_num_blocks": 1,
        },
    ),
}
PROCESSOR = {
    "image_processor_type": "RTDetrImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": False,
    "size": {"height": 64, "width": 64},
    "resample": 2,
}


def network_of(kind: str, classes: int = 5) -> Any:
    """The library's whole network, with random weights and statistics."""
    name, settings = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, name)(**settings, num_labels=classes)
    network = transformers.AutoModelForObjectDetection.from_config(config)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(getattr(module, "running_var", None), Tensor):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for own in network.parameters():  # so that classes and boxes are told apart
            if own.ndim > 1:
                own.add_(torch.randn_like(own), alpha=0.1)
    return network.eval()


def put(kind: str, folder: Path, classes: int = 5) -> Path:
    network_of(kind, classes).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder
