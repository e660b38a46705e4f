"""Processor seconds of a quantized checkpoint in transformers, packed and after model.dequantize(), on one thread.

    build/python/bin/python bench/pytorch.py FOLDER

FOLDER is what `higgs export FOLDER --transformers` made of a checkpoint. Needs torch and transformers 5.
"""

import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def seconds(model, count, runs=3):
    ids = torch.arange(count)[None] + 1
    times = []
    for _ in range(runs):
        began = time.process_time()
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        times.append(time.process_time() - began)
    return min(times)


def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
    for name in ("packed", "plain"):
        size = sum(each.nbytes for each in [*model.parameters(), *model.buffers()])
        print(f"{name}: {size / 1e6:.0f} MB, {seconds(model, 1):.3f} s for a token, {seconds(model, 256):.3f} s for 256")
        if name == "packed":
            model = model.dequantize()


if __name__ == "__main__":
    main()
