"""The types that llama-quantize gives each tensor in its mixtures, by its dry run on models of zeros: tests/gguf/mixtures.json.

    python tests/gguf/mixtures.py llama-quantize

Needs gguf 0.19 and numpy.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
MIXTURES = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"]
# Layers, heads, heads of keys, experts, tied, width, inner width: the last has rows of no whole blocks of 256.
MODELS = {
    "grouped": (16, 8, 2, 0, False, 256, 512),
    "tied": (11, 4, 4, 0, True, 256, 512),
    "experts": (9, 4, 2, 8, False, 256, 256),
    "narrow": (3, 4, 2, 0, True, 128, 96),
}


def tensors(layers, heads, keys, experts, tied, dim, inner):
    yield "token_embd.weight", (64, dim)
    for i in range(layers):
        shapes = {"attn_q": (dim, dim), "attn_k": (dim * keys // heads, dim), "attn_v": (dim * keys // heads, dim), "attn_output": (dim, dim)}
        stack, kind = ((experts,), "_exps") if experts else ((), "")
        shapes |= {f"ffn_gate{kind}": (*stack, inner, dim), f"ffn_up{kind}": (*stack, inner, dim), f"ffn_down{kind}": (*stack, dim, inner)}
        for name, shape in shapes.items():
            yield f"blk.{i}.{name}.weight", shape
        if experts:
            yield f"blk.{i}.ffn_gate_inp.weight", (experts, dim)
        yield f"blk.{i}.attn_norm.weight", (dim,)
        yield f"blk.{i}.ffn_norm.weight", (dim,)
    yield "output_norm.weight", (dim,)
    if not tied:
        yield "output.weight", (64, dim)


def write(path, layers, heads, keys, experts, tied, dim, inner):
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers), w.add_context_length(64), w.add_embedding_length(dim), w.add_feed_forward_length(inner)
    w.add_head_count(heads), w.add_head_count_kv(keys), w.add_layer_norm_rms_eps(1e-5)
    if experts:
        w.add_expert_count(experts), w.add_expert_used_count(2)
    w.add_tokenizer_model("no_vocab"), w.add_vocab_size(64)
    for name, shape in tensors(layers, heads, keys, experts, tied, dim, inner):
        w.add_tensor(name, np.zeros(shape, dtype=np.float32))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def main():
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            path = Path(folder) / f"{name}.gguf"
            write(path, *model)
            layers, heads, keys, experts, tied, _, _ = model
            about = {"layers": layers, "grouping": heads // keys, "experts": experts, "tied": tied}
            columns = {t: shape[-1] for t, shape in tensors(*model) if len(shape) > 1 and "gate_inp" not in t}
            types = {}
            for mixture in MIXTURES:
                run = subprocess.run([sys.argv[1], "--dry-run", str(path), mixture], capture_output=True, text=True, check=True)
                lines = (run.stdout + run.stderr).splitlines()
                told = [re.search(r"\] (\S+) +- \[.*-> .*\((\w+)\)", line) for line in lines]
                own = {match[1]: match[2] for match in told if match}
                assert own.keys() == columns.keys(), (name, mixture, own.keys() ^ columns.keys())
                types[mixture] = own
            found[name] = {**about, "columns": columns, "types": types}
    lines = []
    for name, about in found.items():
        types = about.pop("types")
        names = sorted(about["columns"], key=lambda t: (int((re.match(r"blk\.(\d+)", t) or [0, -1])[1]), t))
        about["columns"] = {t: about["columns"][t] for t in names}
        each = ",\n".join(f"  {json.dumps(m)}: {json.dumps(' '.join(own[t] for t in names))}" for m, own in types.items())
        lines.append(f"{json.dumps(name)}: {{{json.dumps(about)[1:-1]}, \"types\": {{\n{each}\n}}}}")
    (HERE / "mixtures.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
