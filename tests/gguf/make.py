"""GGUF twins of checkpoints, written with the package that llama.cpp's own converter uses, by the rules of that converter.

    python tests/gguf/make.py                                   the goldens here: a twin of each family in tests/families that GGUF has,
                                                                blocks of each code with their weights, vocabularies
    python tests/gguf/make.py --model DIR --out F.gguf [--type F16|BF16|Q8_0|…] [--parts N]   the twin of a model

GGUF leaves out what llama.cpp knows by the architecture. `untold` says what of a config.json that is; tests give the original that config.
Needs gguf 0.19, numpy, torch and safetensors.
"""

import argparse
import json
import math
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
FAMILIES = HERE.parent / "families"
A = gguf.MODEL_ARCH
ARCHITECTURES = {
    **{"llama": A.LLAMA, "mistral": A.LLAMA, "mixtral": A.LLAMA, "ministral3": A.MISTRAL3, "arcee": A.ARCEE},
    **{"granite": A.GRANITE, "smollm3": A.SMOLLM3, "qwen2": A.QWEN2, "qwen2_moe": A.QWEN2MOE, "qwen3": A.QWEN3},
    **{"qwen3_moe": A.QWEN3MOE, "gemma2": A.GEMMA2, "gemma3_text": A.GEMMA3, "phi3": A.PHI3, "olmo2": A.OLMO2},
    **{"olmo3": A.OLMO2, "glm": A.CHATGLM, "glm4": A.GLM4, "glm4_moe": A.GLM4_MOE, "deepseek_v2": A.DEEPSEEK2},
    **{"deepseek_v3": A.DEEPSEEK2, "ernie4_5": A.ERNIE4_5, "hunyuan_v1_dense": A.HUNYUAN_DENSE, "lfm2": A.LFM2},
    **{"gpt_oss": A.GPT_OSS},
}
TURNED = {A.LLAMA, A.MISTRAL3, A.ARCEE, A.GRANITE, A.SMOLLM3}


def untold(config):
    """The config.json that a GGUF of it tells of."""
    c = json.loads(json.dumps(config))
    kind = c["model_type"]
    c.pop("rope_interleaved", None)
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    own = rope.get("full_attention", rope)
    own.pop("truncate", None)
    if own.get("mscale_all_dim") is not None:
        if kind in ("deepseek_v2", "deepseek_v3", "ministral3"):
            own["mscale"] = own["mscale_all_dim"]
        else:
            own.pop("mscale", None), own.pop("mscale_all_dim", None)
    if kind in ("mistral", "mixtral"):
        c["sliding_window"] = None
        c.pop("layer_types", None)
    if kind in ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        c["use_sliding_window"] = False
        c.pop("layer_types", None)
    if kind in ("gemma2", "gemma3_text"):
        c["query_pre_attn_scalar"] = c["head_dim"]
        c["tie_word_embeddings"] = True
    if kind == "gemma2":
        c.pop("layer_types", None)
    if kind == "smollm3":
        c |= {"no_rope_layer_interval": 4, "no_rope_layers": None, "use_sliding_window": False, "layer_types": None}
    if kind == "deepseek_v3":
        c["rope_interleave"] = True
    if kind == "gpt_oss":
        own["truncate"] = False
    return c


def head_dim(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def metadata(w, arch, c, tensors):
    kind = c["model_type"]
    layers = c["num_hidden_layers"] + (c.get("num_nextn_predict_layers") or 0 if kind == "glm4_moe" else 0)
    w.add_block_count(layers)
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    inner = tensors.get("model.layers.0.feed_forward.w1.weight")  # LFM2's is told otherwise
    w.add_feed_forward_length(c["intermediate_size"] if inner is None else inner.shape[0])
    w.add_head_count(c["num_attention_heads"])
    w.add_layer_norm_rms_eps(c.get("norm_eps", c.get("rms_norm_eps", 1e-5)))
    if kind == "lfm2":
        attends = [f"model.layers.{i}.self_attn.q_proj.weight" in tensors for i in range(layers)]
        w.add_head_count_kv([c["num_key_value_heads"] if each else 0 for each in attends])
        w.add_shortconv_l_cache(c.get("conv_L_cache", 3))
    else:
        w.add_head_count_kv(1 if arch == A.DEEPSEEK2 else c["num_key_value_heads"])
    if c.get("head_dim") and arch not in (A.DEEPSEEK2, A.GRANITE):
        w.add_key_length(c["head_dim"])
        w.add_value_length(c["head_dim"])
    ropes(w, arch, c)
    experts(w, c)
    if kind in ("gemma2", "gemma3_text", "olmo3") and c.get("sliding_window"):
        w.add_sliding_window(c["sliding_window"])
    if kind == "gpt_oss":
        w.add_sliding_window(c["sliding_window"])
        w.add_expert_feed_forward_length(c["intermediate_size"])
    if kind == "gemma2":
        w.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        w.add_final_logit_softcapping(c["final_logit_softcapping"])
    if kind == "olmo3" or (kind == "gemma3_text" and c.get("layer_types")):
        w.add_sliding_window_pattern([t == "sliding_attention" for t in c["layer_types"]])
    if kind == "phi3":
        w.add_sliding_window(c.get("sliding_window") or 0)
    if kind == "granite":
        w.add_attention_scale(c["attention_multiplier"])
        w.add_embedding_scale(c["embedding_multiplier"])
        w.add_residual_scale(c["residual_multiplier"])
        w.add_logit_scale(c["logits_scaling"])
    if arch == A.DEEPSEEK2:
        rank, turned = c["kv_lora_rank"], c["qk_rope_head_dim"]
        if c.get("q_lora_rank"):
            w.add_q_lora_rank(c["q_lora_rank"])
        w.add_kv_lora_rank(rank)
        w.add_key_length(rank + turned)
        w.add_value_length(rank)
        w.add_key_length_mla(c["qk_nope_head_dim"] + turned)
        w.add_value_length_mla(c["v_head_dim"])


def ropes(w, arch, c):
    kind = c["model_type"]
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    own = rope.get("full_attention", rope)
    theta = own.get("rope_theta", c.get("rope_theta", c.get("theta", 10000.0)))
    kind_of = own.get("rope_type", own.get("type"))
    if kind == "hunyuan_v1_dense" and own.get("alpha"):
        theta *= own["alpha"] ** (head_dim(c) / (head_dim(c) - 2))
    w.add_rope_freq_base(theta)
    local = rope.get("sliding_attention", {}).get("rope_theta", c.get("rope_local_base_freq"))
    if local is not None and kind == "gemma3_text":
        w.add_rope_freq_base_swa(local)
    part = own.get("partial_rotary_factor", c.get("partial_rotary_factor"))
    if arch == A.DEEPSEEK2:
        w.add_rope_dimension_count(c["qk_rope_head_dim"])
    else:
        usual = 0.5 if kind in ("glm", "glm4", "glm4_moe") else 1
        w.add_rope_dimension_count(int(head_dim(c) * (usual if part is None else part)))
    if kind_of == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(own["factor"])
    if kind_of == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(own["factor"])
        w.add_rope_scaling_orig_ctx_len(own["original_max_position_embeddings"])
        for key, add in [
            ("attention_factor", w.add_rope_scaling_yarn_attn_factor),
            ("beta_fast", w.add_rope_scaling_yarn_beta_fast),
            ("beta_slow", w.add_rope_scaling_yarn_beta_slow),
        ]:
            if own.get(key) is not None:
                add(own[key])
        if arch == A.DEEPSEEK2 and own.get("mscale_all_dim") is not None:
            w.add_rope_scaling_yarn_log_mul(0.1 * own["mscale_all_dim"])
        if arch == A.MISTRAL3:
            if own.get("mscale_all_dim") is not None:
                w.add_rope_scaling_yarn_log_mul(own["mscale_all_dim"])
            if own.get("llama_4_scaling_beta") is not None:
                w.add_attn_temperature_scale(own["llama_4_scaling_beta"])
    if own.get("long_factor"):
        original = c.get("original_max_position_embeddings", own.get("original_max_position_embeddings"))
        stretch = c["max_position_embeddings"] / original
        w.add_rope_scaling_orig_ctx_len(original)
        if kind_of in ("su", "longrope"):
            w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0)
        for name in ("long", "short"):
            w.add_tensor(f"rope_factors_{name}.weight", np.array(own[f"{name}_factor"], dtype=np.float32))
    if kind_of == "llama3":
        dim = head_dim(c)
        original = own["original_max_position_embeddings"]
        low, high, factor = own["low_freq_factor"], own["high_freq_factor"], own["factor"]
        found = []
        for freq in 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
            length = 2 * math.pi / freq
            if length < original / high:
                found.append(1)
            elif length > original / low:
                found.append(factor)
            else:
                smooth = (original / length - low) / (high - low)
                found.append(1 / ((1 - smooth) / factor + smooth))
        w.add_tensor("rope_freqs.weight", np.array(found, dtype=np.float32))


def experts(w, c):
    count = c.get("num_local_experts") or c.get("num_experts") or c.get("n_routed_experts")
    if not count:
        return
    w.add_expert_count(count)
    w.add_expert_used_count(c["num_experts_per_tok"])
    if c.get("moe_intermediate_size"):
        w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    if c.get("shared_expert_intermediate_size"):
        w.add_expert_shared_feed_forward_length(c["shared_expert_intermediate_size"])
    if c.get("n_shared_experts") is not None:
        w.add_expert_shared_count(c["n_shared_experts"])
        w.add_leading_dense_block_count(c.get("first_k_dense_replace", 0))
        w.add_expert_weights_scale(c.get("routed_scaling_factor", 1.0))
        w.add_expert_weights_norm(c.get("norm_topk_prob", False))
        if c["model_type"] in ("deepseek_v3", "glm4_moe"):
            w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if c.get("n_group") is not None:
        w.add_expert_group_count(c["n_group"])
        w.add_expert_group_used_count(c["topk_group"])


def permuted(weights, heads):
    """Rows of a head (s, i) to (i, s): what llama.cpp's rope of neighbours wants."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def gpt_oss_experts(tensors):
    """Experts in MXFP4: a byte has elements i and i + 16 of a block, not 2i and 2i + 1; gates and ups apart."""
    for name, scales in sorted(tensors.items()):
        if ".mlp.experts." not in name:
            continue
        layer = "blk." + name.split(".")[2]
        if name.endswith("_bias"):
            if "gate_up" in name:
                yield f"{layer}.ffn_gate_exps.bias", tensors[name][:, ::2].float()
                yield f"{layer}.ffn_up_exps.bias", tensors[name][:, 1::2].float()
            else:
                yield f"{layer}.ffn_down_exps.bias", tensors[name].float()
        if not name.endswith("_scales"):
            continue
        blocks = tensors[name.replace("_scales", "_blocks")].numpy()
        codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], 32)
        packed = codes[..., :16] | codes[..., 16:] << 4
        whole = np.concatenate([scales.numpy()[..., None], packed], axis=-1).reshape(*blocks.shape[:2], -1)
        if "gate_up" in name:
            yield f"{layer}.ffn_gate_exps.weight", whole[:, ::2]
            yield f"{layer}.ffn_up_exps.weight", whole[:, 1::2]
        else:
            yield f"{layer}.ffn_down_exps.weight", whole


def converted(arch, c, tensors):
    """Pairs of names in GGUF and weights."""
    layers = c["num_hidden_layers"] + (c.get("num_nextn_predict_layers") or 0)
    names = gguf.get_tensor_name_map(arch, layers)
    usual = gguf.get_tensor_name_map(A.LLAMA, layers)  # of layers without experts, which some architectures never have
    stacks = {}
    if arch == A.GPT_OSS:
        yield from gpt_oss_experts(tensors)
    for name, weights in sorted(tensors.items()):
        if arch == A.GPT_OSS and ".mlp.experts." in name:
            continue
        weights = weights.to(torch.float32)
        if name == "lm_head.weight" and c.get("tie_word_embeddings"):
            continue
        if arch in TURNED and name.endswith(("q_proj.weight", "q_proj.bias")):
            weights = permuted(weights, c["num_attention_heads"])
        if arch in TURNED and name.endswith(("k_proj.weight", "k_proj.bias")):
            weights = permuted(weights, c["num_key_value_heads"])
        if arch in (A.GEMMA2, A.GEMMA3) and name.endswith("norm.weight"):
            weights = weights + 1
        if name.endswith("conv.conv.weight"):
            weights = weights.squeeze(1)
        if name.endswith("kv_b_proj.weight"):
            plain, value = c["qk_nope_head_dim"], c["v_head_dim"]
            both = weights.view(c["num_attention_heads"], plain + value, weights.shape[-1])
            k, v = torch.split(both, [plain, value], dim=1)
            yield names.get_name(name.replace("kv_b", "k_b"), (".weight",)), k.transpose(1, 2)
            yield names.get_name(name.replace("kv_b", "v_b"), (".weight",)), v
            continue
        if name.endswith("mlp.experts.gate_up_proj"):
            half = weights.shape[1] // 2
            for part, own in [("gate_proj", weights[:, :half]), ("up_proj", weights[:, half:])]:
                yield names.get_name(name.replace("gate_up_proj", f"{part}.weight"), (".weight",)), own
            continue
        parts = name.split(".")
        if "experts" in parts and parts[parts.index("experts") + 1].isdigit():
            at = parts.index("experts") + 1
            stack = ".".join(parts[:at] + parts[at + 1 :]).replace("block_sparse_moe", "feed_forward").replace("model.layers", "layers")
            stack = stack if "feed_forward" in stack else ".".join(parts[:at] + parts[at + 1 :])
            stacks.setdefault(stack, {})[int(parts[at])] = weights
            continue
        if name.endswith("mlp.experts.down_proj"):
            name += ".weight"
        if name.endswith(".sinks"):
            name += ".weight"
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        found = names.get_name(name, (".weight", ".bias")) or usual.get_name(name, (".weight", ".bias"))
        assert found, name
        yield found, weights.squeeze() if found.endswith("gate_inp_shexp.weight") else weights
    for name, own in stacks.items():
        yield names.get_name(name, (".weight",)), torch.stack([own[i] for i in range(len(own))])


def write(c, tensors, path, dtype="F32", vocabulary=None, parts=1):
    arch = ARCHITECTURES[c["model_type"]]
    w = gguf.GGUFWriter(None if parts > 1 else path, gguf.MODEL_ARCH_NAMES[arch])
    w.add_name(path.stem)
    w.add_license("mit")
    metadata(w, arch, c, tensors)
    if vocabulary:
        vocabulary(w)
    else:
        w.add_tokenizer_model("no_vocab")
        w.add_bos_token_id(c["bos_token_id"])
        eos = c["eos_token_id"]
        w.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)
    found = list(converted(arch, c, tensors))
    if parts > 1:
        w.split_max_tensors = math.ceil(len(found) / parts)
    wanted = gguf.GGMLQuantizationType[dtype]
    for name, weights in found:
        if isinstance(weights, np.ndarray):
            w.add_tensor(name, np.ascontiguousarray(weights), raw_dtype=gguf.GGMLQuantizationType.MXFP4)
            continue
        data = weights.contiguous().numpy()
        fits = data.ndim > 1 and not name.endswith("_norm.weight") and data.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0
        kind = wanted if fits else gguf.GGMLQuantizationType.F32
        w.add_tensor(name, gguf.quantize(data, kind), raw_dtype=kind)
    w.write_header_to_file(path)
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def sentencepieces(folder, scored):
    """What the converter makes of a Llama's tokenizer.json: one score for all, unless `scored`, as a tokenizer.model has them."""
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = sorted(content["model"]["vocab"].items(), key=lambda pair: pair[1])
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    config = json.loads((folder / "tokenizer_config.json").read_text())

    def add(w):
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_list([token for token, _ in vocab])
        w.add_token_scores([-float(i) if scored else -1000.0 for _, i in vocab])
        kinds = [3 if i in special else 6 if token.startswith("<0x") else 1 for token, i in vocab]
        w.add_token_types(kinds)
        for name, add_id in [("bos", w.add_bos_token_id), ("eos", w.add_eos_token_id), ("unk", w.add_unk_token_id)]:
            add_id(content["model"]["vocab"][config[f"{name}_token"]])
        w.add_add_bos_token(True)
        w.add_add_eos_token(False)
        if config.get("chat_template"):
            w.add_chat_template(config["chat_template"])

    return add


def model_twin(folder, path, dtype="F32", scored=True, parts=1):
    c = json.loads((folder / "config.json").read_text())
    c.setdefault("model_type", "llama")
    write(c, load_file(folder / "model.safetensors"), path, dtype, sentencepieces(folder, scored), parts)


# Names in llama.cpp of the kinds that tests/tokenizer-kinds has.
PRE = {
    "GPT-2, Phi": "gpt-2",
    "SmolLM2, Granite": "smollm",
    "Llama 3, SmolLM3, LFM2, GLM": "llama-bpe",
    "Qwen 2": "qwen2",
    "Qwen 3.5": "qwen35",
    "gpt-oss, Phi-4": "gpt-4o",
    "Ministral": "tekken",
    "DeepSeek V2": "deepseek-coder",
    "DeepSeek V3, HunYuan": "deepseek-v3",
}
SPIECES = {"Llama 2, Mixtral, Phi-3": True, "Gemma, ERNIE": False}


def vocabularies():
    """Metadata of each kind of tokenizer, as JSON: files of them would be the vocabulary again and again."""
    goldens = json.loads((HERE.parent / "tokenizer-kinds" / "goldens.json").read_text())
    found = []
    for tokenizer in goldens["tokenizers"]:
        name, model = tokenizer["name"], goldens["models"][tokenizer["model"]]
        if name not in PRE and name not in SPIECES:
            continue
        added = {token["id"]: token for token in tokenizer["content"]["added_tokens"]}
        tokens = {i: token for token, i in model["vocab"].items()} | {i: token["content"] for i, token in added.items()}
        kinds = []
        for i in range(len(tokens)):
            own = added.get(i)
            byte = tokenizer["model"] == "sentence" and tokens[i].startswith("<0x")
            kinds.append(3 if own and own["special"] else 4 if own else 6 if byte else 1)
        found.append(
            {
                "name": name,
                "model": "gpt2" if name in PRE else "llama",
                "pre": PRE.get(name, "default"),
                "kinds": kinds,
                "addBos": bool(tokenizer["content"]["post_processor"]),
                "addSpace": SPIECES.get(name, False),
            }
        )
    return found


def random_blocks(path):
    """Blocks of every code that is read, of random bytes, and the weights that the package makes of them."""
    rng = np.random.default_rng(20)
    w = gguf.GGUFWriter(path, "llama")
    values = {}
    for code in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "MXFP4"]:
        kind = gguf.GGMLQuantizationType[code]
        weights, size = gguf.GGML_QUANT_SIZES[kind]
        shape = (6, 512)
        if weights == 1:
            data = gguf.quantize(rng.standard_normal(shape).astype(np.float32), kind)
        else:
            data = rng.integers(0, 256, (6, 512 // weights, size), dtype=np.uint8)
            halves = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "MXFP4": []}.get(code, [0])
            for at in halves:  # scales of both signs, subnormal ones and zeros among them
                exponents = rng.choice([-26.0, -20.0, -8.0, 0.0, 6.0], data.shape[:2])
                scales = (rng.standard_normal(data.shape[:2]) * 2.0**exponents).astype(np.float16)
                scales[0, 0] = 0
                data[:, :, at : at + 2] = scales.view(np.uint8).reshape(*data.shape[:2], 2)
            data = data.reshape(6, -1)
        w.add_tensor(f"blk.0.{code}.weight", data, raw_dtype=kind)
        values[code] = torch.from_numpy(np.ascontiguousarray(gguf.dequantize(data, kind).astype(np.float32).reshape(shape)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return values


def rounded_blocks():
    """Weights, and what the package's Q8_0 makes of them: normal ones of many sizes, zeros, ties."""
    rng = np.random.default_rng(21)
    weights = (rng.standard_normal((48, 32)) * 2.0 ** rng.integers(-20, 12, (48, 1))).astype(np.float32)
    weights[0] = 0
    weights[1] = np.arange(32) + 0.5  # its scale is 1/4, so that quotients are halves
    weights[1, 31] = 31.75
    return {"weights": weights, "codes": gguf.quantize(weights, gguf.GGMLQuantizationType.Q8_0)}


def goldens():
    configs = {}
    names = sorted(path.name for path in FAMILIES.iterdir() if (path / "config.json").exists())
    made = []
    for name in names:
        config = json.loads((FAMILIES / name / "config.json").read_text())
        kind = config.get("model_type")
        if kind not in ARCHITECTURES or name in ("trained_gemma2", "gemma3"):
            continue
        told = untold(config)
        dtype = "F32" if name in ("llama", "deepseek_v2", "qwen3_moe") else "BF16"  # the originals', so nothing is lost
        write(told, load_file(FAMILIES / name / "model.safetensors"), HERE / f"{name}.gguf", dtype)
        configs[name] = told
        made.append(name)
    save_file(random_blocks(HERE / "blocks.gguf"), HERE / "blocks.safetensors")
    save_file({name: torch.from_numpy(own) for name, own in rounded_blocks().items()}, HERE / "rounded.safetensors")
    lines = [f"{json.dumps(name)}: {json.dumps(config)}" for name, config in configs.items()]
    body = "{\n\"configs\": {\n" + ",\n".join(lines) + "\n},\n\"vocabularies\": " + json.dumps(vocabularies()) + "\n}\n"
    (HERE / "goldens.json").write_text(body)
    print(len(made), "twins:", ", ".join(made))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--type", default="F32")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--unscored", action="store_true")
    given = parser.parse_args()
    if given.model:
        model_twin(given.model, given.out, given.type, not given.unscored, given.parts)
    else:
        goldens()


if __name__ == "__main__":
    main()
