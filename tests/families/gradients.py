"""Gradients of the checkpoints here by transformers' own code and torch's autograd, in f64: gradients.json.

    python tests/families/gradients.py NAME LABEL LABEL ...    of one family, of log p of these labels

A label belongs to each of the last ids of a checkpoint's longest run in logits.safetensors, which the model sees alone. The labels are
those that tests/families-backward.test.ts draws: it tells them where others are written here. Of each weight's gradient there are the
squared norm, and inner products with SIGNS vectors of 1 and -1, `signs` below. Needs torch, transformers 5 and safetensors.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
import transformers
from safetensors.torch import load_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
HERE = Path(__file__).parent
SIGNS = 3
# No weights that are quantized: routers, biases of experts, kernels of convolutions.
OTHERS = ("mlp.gate.weight", "shared_expert_gate.weight", "router.weight", "router.proj.weight", "_proj_bias", "conv.conv.weight", "conv1d.weight")


def signs(count, seed):
    hashed = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(2654435761) + numpy.uint32(40503 * seed)
    return torch.from_numpy(((hashed >> numpy.uint32(15)) & 1).astype(numpy.float64) * 2 - 1)


def decoded(tensors):
    """The tensors of a checkpoint, with those in MXFP4 as the matrices that they stand for."""
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=torch.float64)
    values = torch.cat([magnitudes, -magnitudes])
    for name in [name for name in tensors if name.endswith("_blocks")]:
        blocks, scales = tensors.pop(name).int(), tensors.pop(name.replace("_blocks", "_scales")).int()
        codes = torch.stack([blocks % 16, blocks // 16], -1).flatten(-2)
        weights = (values[codes] * 2.0 ** (scales[..., None] - 127)).flatten(-2)
        tensors[name.removesuffix("_blocks")] = weights.transpose(1, 2).contiguous()
    return tensors


def gradients(name, labels):
    folder = HERE / name
    config = json.loads((folder / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    if "quantization_config" in config:
        del config["quantization_config"]
        eager |= {"config": model_class.config_class.from_dict(config), "state_dict": decoded(load_file(folder / "model.safetensors"))}
    where = None if "state_dict" in eager else folder
    model = model_class.from_pretrained(where, dtype=torch.float64, **eager).eval().double()
    runs = load_file(folder / "logits.safetensors")
    ids = runs[max((key for key in runs if key.startswith("ids.")), key=lambda key: int(key[4:]))][-len(labels) :]
    model.get_input_embeddings().padding_idx = None  # else a padding id has no gradient
    narrow, cast = torch.float32, torch.Tensor.float
    try:  # Some steps of the families' code are f32 whatever the model is.
        torch.float = torch.float32 = torch.float64
        torch.Tensor.float = torch.Tensor.double
        logits = model(input_ids=ids[None].long(), use_cache=False).logits[0]
        predictions = torch.log_softmax(logits, -1)
        predictions[torch.arange(len(labels)), torch.tensor(labels)].sum().backward()
    finally:
        torch.float = torch.float32 = narrow
        torch.Tensor.float = cast
    found = {}
    for weight, parameter in model.named_parameters():
        if parameter.grad is None or parameter.dim() != 2 or weight.endswith(OTHERS):
            continue
        d = parameter.grad.flatten()
        assert d.dtype == torch.float64
        found[weight] = [float(d @ d), *(float(d @ signs(len(d), seed)) for seed in range(1, SIGNS + 1))]
    return found


def main():
    name, *labels = sys.argv[1:]
    labels = [int(label) for label in labels]
    path = HERE / "gradients.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = {"labels": labels, "weights": gradients(name, labels)}
    body = []
    for family, own in sorted(known.items()):
        rows = [f"      {json.dumps(weight)}: {json.dumps(numbers)}" for weight, numbers in own["weights"].items()]
        body.append(f"  {json.dumps(family)}: {{\n    \"labels\": {json.dumps(own['labels'])},\n    \"weights\": {{\n")
        body[-1] += ",\n".join(rows) + "\n    }\n  }"
    path.write_text("{\n" + ",\n".join(body) + "\n}\n")


if __name__ == "__main__":
    main()
