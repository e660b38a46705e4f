"""Logits of quantized checkpoints by transformers, through the Python file in them.

    python tests/transformers/logits.py [--dtype float32] [--import FILE] [--plain] FOLDER ...

Writes `transformers.safetensors` into each: for each run of `logits.safetensors`, which tests/families/make.py made, `packed.<context>` of
weights that stay packed, and `plain.<context>` after model.dequantize(). With --import the file is imported first, and from_pretrained
trusts no code. A checkpoint is --plain if it is not quantized. Prints the bytes of parameters and buffers before and after.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def load(folder, dtype, trusts):
    config = json.loads((folder / "config.json").read_text())
    (architecture,) = config["architectures"]
    kind = "AutoModelForCausalLM" if architecture.endswith("ForCausalLM") else "AutoModelForImageTextToText"
    options = {"dtype": dtype, "attn_implementation": "eager", "output_loading_info": True}
    if "num_experts_per_tok" in config:
        options["experts_implementation"] = "eager"  # the others refuse sizes that 16 bytes do not divide
    model, info = getattr(transformers, kind).from_pretrained(folder, trust_remote_code=trusts, **options)
    missing = {kind: sorted(info[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
    assert not missing, missing
    return model


def size(model):
    return sum(each.nbytes for each in [*model.parameters(), *model.buffers()])


def run(model, references):
    found = {}
    for name, ids in references.items():
        if name.startswith("ids."):
            with torch.no_grad():
                found[name[4:]] = model(input_ids=ids[None].long(), use_cache=False).logits[0].float()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--import", dest="file")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    if given.file:
        spec = importlib.util.spec_from_file_location("higgs_wasm", given.file)
        sys.modules["higgs_wasm"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["higgs_wasm"])
    for folder in given.folders:
        model = load(folder, getattr(torch, given.dtype), trusts=not (given.file or given.plain))
        references = load_file(folder / "logits.safetensors")
        packed, bytes_packed = run(model, references), size(model)
        model = model if given.plain else model.dequantize()
        plain = run(model, references)
        logits = {f"packed.{context}": logits for context, logits in packed.items()}
        save_file(logits | {f"plain.{context}": logits for context, logits in plain.items()}, folder / "transformers.safetensors")
        print(json.dumps({"name": folder.name, "packed": bytes_packed, "plain": size(model)}))


if __name__ == "__main__":
    main()
