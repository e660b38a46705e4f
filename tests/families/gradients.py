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
# No weights that are quantized: routers, kernels of convolutions.
OTHERS = ("mlp.gate.weight", "shared_expert_gate.weight", "conv.conv.weight", "conv1d.weight")


def signs(count, seed):
    hashed = numpy.arange(count, dtype=numpy.uint32) * numpy.uint32(2654435761) + numpy.uint32(40503 * seed)
    return torch.from_numpy(((hashed >> numpy.uint32(15)) & 1).astype(numpy.float64) * 2 - 1)


def gradients(name, labels):
    folder = HERE / name
    config = json.loads((folder / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    eager = {"attn_implementation": "eager", "experts_implementation": "eager"}
    model = model_class.from_pretrained(folder, dtype=torch.float64, **eager).eval()
    runs = load_file(folder / "logits.safetensors")
    ids = runs[max((key for key in runs if key.startswith("ids.")), key=lambda key: int(key[4:]))][-len(labels) :]
    narrow, cast = torch.float32, torch.Tensor.float
    try:  # Some steps of the families' code are f32 whatever the model is.
        torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
        logits = model(input_ids=ids[None].long(), use_cache=False).logits[0]
        predictions = torch.log_softmax(logits, -1)
        predictions[torch.arange(len(labels)), torch.tensor(labels)].sum().backward()
    finally:
        torch.float32, torch.Tensor.float = narrow, cast
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
