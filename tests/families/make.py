"""Tiny random checkpoints of every family, with the logits that transformers' own code computes of them in f64.

    python tests/families/make.py                      the goldens in tests/families/, and their list, index.ts
    python tests/families/make.py --seed 7 8 --out DIR others, of other sizes, for tests/families-random.test.ts
    python tests/families/make.py NAME NAME            of these families only, here and there

A family is one function below: what config.json says, sizes and choices drawn from `r`. What all share stands in `common`. A checkpoint
is a folder with config.json, model.safetensors and logits.safetensors: for each run, `ids.<context>` and `logits.<context>`, (ids,
vocabulary), of a model that is opened with that context; for others `rounded.<context>`, how far the same code is off in f32. Needs torch, transformers 5 and safetensors.
"""

import argparse
import copy
import json
import random
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
HERE = Path(__file__).parent
FAMILIES = {}
OLDER = {"llama", "phi3", "glm4", "granite", "gemma2", "gemma3", "olmo3", "deepseek_v2", "qwen2_moe", "mixtral", "lfm2", "qwen3_next"}  # goldens with a config.json of releases before 5
LENGTH = 40  # of a run of a golden: beyond every window and every original context below


def family(make):
    FAMILIES[make.__name__] = make
    return make


class Draw(random.Random):
    """Sizes that no power of two divides, small enough for a repository if `small`."""

    def __init__(self, seed, small):
        super().__init__(seed)
        self.small = small

    def even(self, low, high):
        return 2 * self.randint(low // 2, high // 2)

    def flag(self):
        return self.random() < 0.5

    def common(self, architecture, head_dim=True, multiple=False, **more):
        kv = self.choice([1, 2]) if self.small else self.choice([1, 2, 3, 5, 8])
        heads = kv * (2 if self.small else self.choice([1, 2, 3, 4, 7]))
        size = self.even(6, 10) if self.small else self.choice([self.even(6, 40), self.even(6, 40), 64, 80, 128])
        if heads * size > 600:
            size = self.even(6, 12)
        dim = self.randint(18, 40) if self.small else self.randint(20, 140)
        if not head_dim or multiple:
            dim = heads * (size if not head_dim else max(1, dim // heads))
        return {
            "architectures": [architecture],
            "hidden_size": dim,
            "intermediate_size": self.randint(30, 60) if self.small else self.randint(20, 300),
            "num_hidden_layers": self.choice([2, 3]) if self.small else self.choice([1, 2, 3, 5, 9]),
            "num_attention_heads": heads,
            "num_key_value_heads": kv,
            **({"head_dim": size} if head_dim else {}),
            "vocab_size": self.randint(60, 110) if self.small else self.randint(40, self.choice([400, 400, 1500])),
            "max_position_embeddings": 128 if self.small else self.choice([128, 2048, 131072]),
            "rms_norm_eps": self.choice([1e-6, 1e-5]),
            "rope_parameters": {"rope_type": "default", "rope_theta": self.choice([1e4, 5e5])},
            "bos_token_id": 1,
            "eos_token_id": [2, 3],
            "pad_token_id": 0,
            "tie_word_embeddings": self.flag(),
            **more,
        }

    def window(self, usual):
        """Positions that a token sees, from itself alone to more than there are."""
        return usual if self.small or usual is None else self.choice([1, 2, usual, 31, 32, 33, 4096])

    def activation(self):
        """What Llama and its like may have in place of silu."""
        return {} if self.small else self.choice([{}, {}, {"hidden_act": "gelu_pytorch_tanh"}])

    def scaling(self, original=24):
        """A way to longer contexts."""
        theta = self.choice([1e4, 5e5])
        return self.choice(
            [
                {"rope_type": "default", "rope_theta": theta},
                {"rope_type": "linear", "factor": 2.5, "rope_theta": theta},
                {"rope_type": "dynamic", "factor": 2.0, "rope_theta": theta},
                {
                    "rope_type": "llama3",
                    "rope_theta": theta,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": original,
                },
                self.yarn(original, theta),
            ]
        )

    def yarn(self, original=24, theta=1e4):
        yarn = {
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": self.choice([4.0, 16.0]),
            "original_max_position_embeddings": original,
        }
        if self.flag():
            yarn |= {"beta_fast": 8.0, "beta_slow": 0.5}
        if self.flag():
            yarn |= {"mscale": 1.0, "mscale_all_dim": self.choice([1.0, 0.7])}
        elif self.flag():
            yarn |= {"attention_factor": 1.2}
        if self.flag():
            yarn |= {"truncate": False}
        return yarn

    def latent_scaling(self):
        plain = {"rope_type": "default", "rope_theta": 1e4}
        rope = self.yarn(self.choice([16, 24])) if self.small or self.flag() else plain
        rope.pop("truncate", None)
        return rope

    def kinds(self, layers, pattern):
        """As the family has them, every `pattern`-th layer full, or any."""
        if self.flag():
            return [self.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
        return regular(layers, pattern)


def regular(layers, pattern):
    return ["sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(layers)]


@family
def llama(r):
    biases = {"attention_bias": r.flag(), "mlp_bias": r.flag()}
    return r.common("LlamaForCausalLM", multiple=True, **biases, rope_parameters=r.scaling(), **r.activation())


@family
def arcee(r):
    return r.common(
        "ArceeForCausalLM",
        multiple=True,
        hidden_act="relu2",
        attention_bias=r.flag(),
        mlp_bias=r.flag(),
        rope_parameters=r.scaling(),
    )


@family
def mistral(r):
    return r.common("MistralForCausalLM", sliding_window=r.window(r.choice([None, 7, 16])), **r.activation())


@family
def qwen2(r):
    config = r.common("Qwen2ForCausalLM", head_dim=False)
    return config | {"use_sliding_window": r.flag(), "sliding_window": r.window(9), "max_window_layers": 1}


@family
def qwen3(r):
    return r.common("Qwen3ForCausalLM", attention_bias=r.flag(), rope_parameters=r.scaling(), **r.activation())


@family
def qwen3_vl(r):
    config = r.common("Qwen3VLForConditionalGeneration", attention_bias=r.flag())
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [config["head_dim"] // 2 - 2, 1, 1]}
    text = config | {"model_type": "qwen3_vl_text", "rope_parameters": rope}
    return with_qwen_vision("Qwen3VLForConditionalGeneration", text, "qwen3_vl", deepstack_visual_indexes=[0])


@family
def seed_oss(r):
    biases = {"attention_bias": r.flag(), "attention_out_bias": r.flag(), "mlp_bias": r.flag()}
    return r.common("SeedOssForCausalLM", **biases, rope_parameters=r.scaling())


@family
def ernie4_5(r):
    return r.common("Ernie4_5ForCausalLM", use_bias=r.flag())


@family
def ernie4_5_moe(r):
    config = r.common("Ernie4_5_MoeForCausalLM", head_dim=False)
    experts = r.randint(4, 8) if r.small else r.randint(2, 30)
    return config | {
        "moe_num_experts": experts,
        "moe_k": r.randint(1 + r.small, min(6, experts)),
        "moe_intermediate_size": r.randint(6, 14) if r.small else r.randint(3, 70),
        "moe_num_shared_experts": 1 if r.small else r.randint(0, 2),
        "moe_layer_start_index": 1 if r.small else r.randint(0, 1),
        "moe_layer_interval": 1 if r.small else r.randint(1, 2),
    }


@family
def exaone4(r):
    config = r.common("Exaone4ForCausalLM", sliding_window=r.window(9 if r.small else r.choice([9, None])), rope_parameters=r.scaling())
    layers = config["num_hidden_layers"]
    kinds = ["sliding_attention", "full_attention", "sliding_attention"][:layers] if r.small else r.kinds(layers, 4)
    return config | {"layer_types": kinds if config["sliding_window"] else ["full_attention"] * layers}


@family
def phi3(r):
    config = r.common("Phi3ForCausalLM", head_dim=False, sliding_window=r.window(r.choice([None, 9, 262144])))
    size = config["hidden_size"] // config["num_attention_heads"]
    parts = [part for part in [0.75, 0.5, 1.0] if int(size * part) % 2 == 0]  # whole pairs
    turned = parts[0] if r.small else r.choice(parts)
    pairs = int(size * turned) // 2
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": turned,
        "short_factor": [round(1 + r.random(), 3) for _ in range(pairs)],
        "long_factor": [round(1 + 9 * r.random(), 3) for _ in range(pairs)],
    }
    plain = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": turned}
    rope = longrope if r.small or r.flag() else plain
    return config | {"original_max_position_embeddings": 24, "rope_parameters": rope}


@family
def granite(r):
    return r.common(
        "GraniteForCausalLM",
        head_dim=False,
        attention_bias=r.flag(),
        mlp_bias=r.flag(),
        embedding_multiplier=r.choice([3.0, 12.0]),
        attention_multiplier=r.choice([0.125, 0.4]),
        residual_multiplier=r.choice([0.22, 1.5]),
        logits_scaling=r.choice([2.0, 0.5]),
        rope_parameters=r.scaling(),
    )


@family
def smollm3(r):
    config = r.common("SmolLM3ForCausalLM", head_dim=False, attention_bias=r.flag(), mlp_bias=r.flag())
    layers = config["num_hidden_layers"]
    if r.flag():
        config["no_rope_layers"] = [r.randint(0, 1) for _ in range(layers)]
    else:
        config["no_rope_layer_interval"] = 2
    return config | r.choice([{}, {"use_sliding_window": True, "sliding_window": r.window(11)}])


@family
def glm(r, architecture="GlmForCausalLM"):
    config = r.common(architecture, attention_bias=r.flag())
    config["rope_parameters"]["partial_rotary_factor"] = r.choice([0.5, 1.0])
    return config


@family
def glm4(r):
    return glm(r, "Glm4ForCausalLM")


@family
def hunyuan_v1_dense(r):
    config = r.common("HunYuanDenseV1ForCausalLM", attention_bias=r.flag())
    alpha = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": 1000.0}
    return config | {"rope_parameters": r.choice([alpha, config["rope_parameters"]])}


@family
def ministral3(r):
    rope = r.yarn(16, 1e6) | {"llama_4_scaling_beta": r.choice([0.1, 0.5])}
    return r.common("Ministral3ForCausalLM", rope_parameters=rope, sliding_window=r.window(r.choice([None, 13])))


@family
def olmo2(r):
    return r.common("Olmo2ForCausalLM", head_dim=False, attention_bias=r.flag(), rope_parameters=r.scaling())


@family
def olmo3(r):
    config = r.common("Olmo3ForCausalLM", head_dim=False, attention_bias=r.flag(), sliding_window=r.window(9))
    kinds = r.kinds(config["num_hidden_layers"], 4)
    full = r.yarn(24, 5e5)
    full.pop("truncate", None)  # transformers 5.18 looks for it outside of the layers' own objects
    ropes = {"sliding_attention": {"rope_type": "default", "rope_theta": 5e5}, "full_attention": full}
    return config | {"layer_types": kinds, "rope_parameters": ropes}


def groups(r, experts):
    """Groups of experts, and how many of them a token's experts may be in."""
    if r.small:
        return 2, 1
    groups = r.choice([g for g in (1, 2, 3, 4) if experts % g == 0 and experts // g >= 2])
    return groups, r.randint(1, groups)


@family
def mixtral(r):
    config = r.common("MixtralForCausalLM", sliding_window=r.window(r.choice([None, 9])))
    experts = r.randint(3, 5) if r.small else r.randint(2, 12)
    return config | {"num_local_experts": experts, "num_experts_per_tok": 2 if r.small else r.randint(1, min(4, experts))}


def qwen_moe(r, config):
    layers, experts = config["num_hidden_layers"], r.randint(4, 7) if r.small else r.randint(2, 40)
    sparse = r.choice([{}, {"decoder_sparse_step": 2}, {"mlp_only_layers": [layers - 1]}]) if layers > 1 else {}
    return config | sparse | {
        "num_experts": experts,
        "num_experts_per_tok": r.randint(1, min(8, experts)),
        "moe_intermediate_size": r.randint(10, 30) if r.small else r.randint(3, 90),
        "norm_topk_prob": r.flag(),
    }


@family
def qwen2_moe(r):
    config = qwen_moe(r, r.common("Qwen2MoeForCausalLM", head_dim=False))
    window = r.choice([{}, {"use_sliding_window": True, "sliding_window": r.window(9), "max_window_layers": 2}])
    return config | window | {"shared_expert_intermediate_size": r.randint(10, 40)}


@family
def qwen3_moe(r):
    config = qwen_moe(r, r.common("Qwen3MoeForCausalLM", attention_bias=r.flag(), rope_parameters=r.scaling()))
    return config | r.choice([{}, {"use_sliding_window": True, "sliding_window": r.window(9)}])


@family
def olmoe(r):
    config = qwen_moe(r, r.common("OlmoeForCausalLM", head_dim=False, attention_bias=r.flag(), rope_parameters=r.scaling()))
    for key in ("decoder_sparse_step", "mlp_only_layers"):
        config.pop(key, None)
    return config | {"intermediate_size": config.pop("moe_intermediate_size")}


def deepseek_moe(r):
    experts = r.choice([4, 6, 8]) if r.small else 2 * r.randint(2, 16)
    group, taken = groups(r, experts)
    return {
        "n_routed_experts": experts,
        "n_shared_experts": r.randint(1, 2),
        "moe_intermediate_size": r.randint(6, 14) if r.small else r.randint(3, 70),
        "n_group": group,
        "topk_group": taken,
        "num_experts_per_tok": r.randint(1 + r.small, min(6, experts // group * taken)),
        "first_k_dense_replace": r.randint(0, 1),
        "norm_topk_prob": r.flag(),
        "routed_scaling_factor": r.choice([1.0, 2.5]),
        "num_nextn_predict_layers": 0,
    }


@family
def glm4_moe(r):
    config = r.common("Glm4MoeForCausalLM", attention_bias=r.flag(), use_qk_norm=r.flag())
    config["rope_parameters"]["partial_rotary_factor"] = r.choice([0.5, 1.0])
    return config | deepseek_moe(r)


@family
def dots1(r):
    config = r.common("Dots1ForCausalLM", attention_bias=r.flag(), rope_parameters=r.scaling())
    return config | deepseek_moe(r) | {"sliding_window": r.window(9), "max_window_layers": r.randint(0, 1)}


def latent(r, architecture):
    """DeepSeek's attention: heads of their own sizes, and latents in place of keys and values."""
    config = r.common(architecture, head_dim=False, attention_bias=r.flag(), rope_parameters=r.latent_scaling())
    return config | {
        "num_key_value_heads": config["num_attention_heads"],
        "kv_lora_rank": r.randint(7, 14) if r.small else r.randint(5, 70),
        "q_lora_rank": r.choice([None, r.randint(9, 20)]) if architecture == "DeepseekV2ForCausalLM" or not r.small else 11,
        "qk_rope_head_dim": r.even(4, 8) if r.small else r.even(2, 24),
        "qk_nope_head_dim": r.randint(5, 9) if r.small else r.randint(3, 40),
        "v_head_dim": r.randint(5, 9) if r.small else r.randint(3, 40),
    }


@family
def deepseek_v2(r):
    limited = {"topk_method": "group_limited_greedy"}
    greedy = {"topk_method": "greedy", "n_group": None, "topk_group": None}
    config = latent(r, "DeepseekV2ForCausalLM") | deepseek_moe(r)
    return config | {"norm_topk_prob": False, "mlp_bias": r.flag()} | (greedy if not r.small and r.flag() else limited)


@family
def deepseek_v3(r):
    return latent(r, "DeepseekV3ForCausalLM") | deepseek_moe(r) | {"rope_interleave": not r.flag()}


@family
def glm4_moe_lite(r):
    config = latent(r, "Glm4MoeLiteForCausalLM") | deepseek_moe(r)
    kinds = [r.choice(["dense", "sparse"]) for _ in range(config["num_hidden_layers"] - 1)]
    return config | {"rope_interleave": not r.flag(), "mlp_layer_types": [*kinds, "sparse"]}


@family
def gemma2(r):
    return r.common(
        "Gemma2ForCausalLM",
        multiple=True,
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=r.choice([10, 24]),
        sliding_window=r.window(9),
        attention_bias=r.flag(),
        attn_logit_softcapping=r.choice([2.0, 50.0, None]),
        final_logit_softcapping=r.choice([3.0, 30.0]),
    )


@family
def gemma3_text(r):
    config = r.common(
        "Gemma3ForCausalLM",
        multiple=True,
        hidden_activation="gelu_pytorch_tanh",
        query_pre_attn_scalar=r.choice([10, 24]),
        sliding_window=r.window(9),
        attention_bias=r.flag(),
    )
    full = r.choice([{"rope_type": "linear", "factor": 8.0}, {"rope_type": "default"}])
    ropes = {"full_attention": full | {"rope_theta": 1e6}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    kinds = r.kinds(config["num_hidden_layers"], 2)
    return config | {"sliding_window_pattern": 2, "layer_types": kinds, "rope_parameters": ropes}


def of_texts_and_images(architecture, text, vision_type):
    """A larger model with this text model in it, and a vision tower that is left alone."""
    text = text | {"model_type": text["architectures"][0].removesuffix("ForCausalLM").lower()}
    del text["architectures"]
    vision = {"model_type": vision_type, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14, "head_dim": 8}
    return {
        "architectures": [architecture],
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "image_token_index": text["vocab_size"] - 1,
    }


@family
def gemma3(r):
    content = of_texts_and_images("Gemma3ForConditionalGeneration", gemma3_text(r), "siglip_vision_model")
    content["text_config"]["model_type"] = "gemma3_text"
    return content | {"mm_tokens_per_image": 4, "boi_token_index": 4, "eoi_token_index": 5}


@family
def mistral3(r):
    text = ministral3(r) if r.small or r.flag() else mistral(r)
    return of_texts_and_images("Mistral3ForConditionalGeneration", text, "pixtral")


@family
def lfm2(r):
    config = r.common("Lfm2ForCausalLM", head_dim=False, norm_eps=r.choice([1e-5, 1e-6]), conv_bias=r.flag())
    del config["rms_norm_eps"]
    layers = config["num_hidden_layers"]
    config |= {"conv_L_cache": r.choice([3, 3, 2, 4]), "block_multiple_of": r.choice([8, 20])}
    config |= {"block_auto_adjust_ff_dim": r.flag(), "block_ffn_dim_multiplier": r.choice([1.0, 1.3])}
    config |= {"num_hidden_layers": layers + 1, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    return config | {"layer_types": ["conv", *(r.choice(["conv", "full_attention"]) for _ in range(layers))]}


@family
def lfm2_moe(r):
    config = lfm2(r) | {"architectures": ["Lfm2MoeForCausalLM"]}
    for key in ("block_multiple_of", "block_auto_adjust_ff_dim", "block_ffn_dim_multiplier"):
        del config[key]
    experts = r.randint(4, 7) if r.small else r.randint(2, 40)
    return config | {
        "num_experts": experts,
        "num_experts_per_tok": r.randint(1 + r.small, min(6, experts)),
        "moe_intermediate_size": r.randint(8, 16) if r.small else r.randint(3, 90),
        "num_dense_layers": r.randint(0, 1),
        "use_expert_bias": r.small or r.flag(),
        "norm_topk_prob": r.small or r.flag(),
        "routed_scaling_factor": r.choice([1.0, 2.5]),
    }


def delta(r, architecture, **more):
    """The gated delta rule in most layers."""
    heads = r.choice([1, 2]) if r.small else r.choice([1, 2, 3])
    config = r.common(
        architecture,
        attention_bias=r.flag(),
        linear_conv_kernel_dim=r.choice([4, 4, 3]),
        linear_key_head_dim=r.randint(5, 10) if r.small else r.randint(3, 40),
        linear_value_head_dim=r.randint(6, 12) if r.small else r.randint(3, 50),
        linear_num_key_heads=heads,
        linear_num_value_heads=heads * r.choice([1, 2, 3]),
        **more,
    )
    config["head_dim"] = r.choice([8, 16]) if r.small else 8 * r.randint(1, 6)
    rope = {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": r.choice([0.25, 0.25, 0.5])}
    layers = config["num_hidden_layers"]
    kinds = r.choice([["linear_attention", "full_attention"], ["linear_attention"] * 3 + ["full_attention"]])
    return config | {"rope_parameters": rope, "layer_types": (kinds * layers)[: layers + 1], "num_hidden_layers": layers + 1}


@family
def qwen3_5_text(r):
    return delta(r, "Qwen3_5ForCausalLM")


def with_qwen_vision(architecture, text, vision_type, **more):
    """A larger model with this text model in it, and Qwen's vision tower."""
    text = {key: value for key, value in text.items() if key != "architectures"}
    vision = {"model_type": vision_type, "depth": 1, "hidden_size": 16, "intermediate_size": 20, "num_heads": 2, **more}
    vision |= {"patch_size": 4, "out_hidden_size": text["hidden_size"], "num_position_embeddings": 16}
    last = text["vocab_size"] - 1
    ids = {"image_token_id": last, "video_token_id": last, "vision_start_token_id": last, "vision_end_token_id": last}
    tied = {"tie_word_embeddings": text["tie_word_embeddings"]}
    return {"architectures": [architecture], "text_config": text, "vision_config": vision} | ids | tied


@family
def qwen3_5(r):
    text = qwen3_5_text(r) | {"model_type": "qwen3_5_text"}
    return with_qwen_vision("Qwen3_5ForConditionalGeneration", text, "qwen3_5_vision")


def experts_behind_delta(r):
    return {
        "num_experts": r.choice([4, 6]),
        "num_experts_per_tok": r.choice([1, 2, 3]),
        "moe_intermediate_size": r.randint(8, 20) if r.small else r.randint(8, 60),
        "shared_expert_intermediate_size": r.randint(8, 20) if r.small else r.randint(8, 60),
    }


@family
def qwen3_5_moe(r):
    text = delta(r, "Qwen3_5MoeForCausalLM", **experts_behind_delta(r)) | {"model_type": "qwen3_5_moe_text"}
    return with_qwen_vision("Qwen3_5MoeForConditionalGeneration", text, "qwen3_5_moe_vision")


@family
def qwen3_next(r):
    return delta(
        r,
        "Qwen3NextForCausalLM",
        **experts_behind_delta(r),
        norm_topk_prob=r.flag(),
        mlp_only_layers=r.choice([[], [0]]),
        decoder_sparse_step=r.choice([1, 1, 2]),
    )


@family
def gpt_oss(r):
    config = r.common(
        "GptOssForCausalLM",
        attention_bias=True,
        num_local_experts=r.choice([3, 4, 6]),
        num_experts_per_tok=r.choice([1, 2, 3]),
        sliding_window=r.window(9),
        tie_word_embeddings=False,
        rope_parameters=r.yarn(24, 150000.0) | {"truncate": False},
    )
    config |= {"hidden_size": 32 * r.choice([1, 2]), "intermediate_size": 32}
    return config | {"layer_types": r.kinds(config["num_hidden_layers"], 2)}


@family
def gemma4_text(r):
    config = r.common("Gemma4ForCausalLM", hidden_activation="gelu_pytorch_tanh", sliding_window=r.window(9), attention_bias=r.flag())
    layers = 5 if r.small else r.choice([3, 4, 6])
    kinds = [*r.kinds(layers - 3, 6), "sliding_attention", *r.kinds(1, 6), "full_attention"]
    shared = 2 if r.small else r.choice([0, 0, 1, 2]) if layers > 3 else 0
    kinds = ["full_attention", "sliding_attention", *kinds[2:]] if shared else kinds
    heads = config["num_attention_heads"]
    full = {"rope_type": "proportional", "partial_rotary_factor": r.choice([0.25, 0.5]), "rope_theta": 1e6}
    ropes = {"full_attention": full, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    per_layer = r.choice([0, 6, 10]) if not r.small else 6
    return config | {
        "num_hidden_layers": layers,
        "layer_types": kinds,
        "head_dim": 2 * r.randint(3, 6) if r.small else 2 * r.randint(3, 20),
        "global_head_dim": 8 * r.randint(1, 2) if r.small else 8 * r.randint(1, 6),
        "num_global_key_value_heads": r.choice([None, 1, heads]),
        "attention_k_eq_v": r.small or r.flag(),
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": r.flag(),
        "hidden_size_per_layer_input": per_layer,
        "vocab_size_per_layer_input": config["vocab_size"],
        "final_logit_softcapping": r.choice([None, 3.0, 30.0]),
        "rope_parameters": ropes,
    }


@family
def gemma4_experts(r):
    experts = r.randint(3, 6) if r.small else r.randint(2, 20)
    config = gemma4_text(r) | {"enable_moe_block": True, "num_experts": experts}
    if r.small:
        config |= {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
        config |= {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 0}
    return config | {
        "top_k_experts": 2 if r.small else r.randint(1, min(5, experts)),
        "moe_intermediate_size": r.randint(8, 20) if r.small else r.randint(3, 60),
    }


def older(config):
    """The same config.json as releases before transformers 5 have it."""
    config = copy.deepcopy(config)
    if "text_config" in config:
        config["text_config"] = older(config["text_config"])
    pattern = {"gemma2": 2, "gemma3_text": config.get("_sliding_window_pattern"), "olmo3": 4}.get(config["model_type"])
    if pattern and config["layer_types"] == regular(config["num_hidden_layers"], pattern):
        del config["layer_types"]
        if config["model_type"] == "gemma3_text":
            config["sliding_window_pattern"] = pattern
    if config["model_type"] == "lfm2":
        kinds = config.pop("layer_types")
        config["full_attn_idxs"] = [layer for layer, kind in enumerate(kinds) if kind == "full_attention"]
        config["block_ff_dim"] = config.pop("intermediate_size")
        config["tie_embedding"] = config.pop("tie_word_embeddings")
    if config["model_type"] in ("qwen3_next", "qwen3_5_text"):
        for apart in (2, 4):
            regular_kinds = ["full_attention" if (i + 1) % apart == 0 else "linear_attention" for i in range(config["num_hidden_layers"])]
            if config.get("layer_types") == regular_kinds:
                del config["layer_types"]
                config["full_attention_interval"] = apart
    gemma4 = config.get("model_type") == "gemma4_text"
    if gemma4:  # which is newer than the other changes
        full = next(iter(config.pop("per_layer_config").values()), {})  # none where all layers have the same heads
        config |= {"global_head_dim": full.get("head_dim", config["head_dim"])}
        config |= {"num_global_key_value_heads": full.get("num_key_value_heads")}
    rope = None if gemma4 else config.pop("rope_parameters", None)
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    if rope and "full_attention" in rope:
        sliding, rope = rope["sliding_attention"], rope["full_attention"]
        if config["model_type"] == "gemma3_text":
            config["rope_local_base_freq"] = sliding["rope_theta"]
    if rope:
        config["rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        if rope["rope_type"] != "default":
            rope["type"] = rope.pop("rope_type").replace("longrope", "su" if config["vocab_size"] % 2 else "longrope")
            config["rope_scaling"] = rope
    return config


def without_defaults(written, config, r):
    """Without some of what the family's own code would say, too; with the sizes, which no release leaves out."""
    usual = type(config)().to_dict()
    kept = {"architectures", "model_type", "text_config", "vision_config", "hidden_size", "intermediate_size", "vocab_size"}
    kept |= {"num_hidden_layers", "num_attention_heads", "max_position_embeddings", "head_dim"}
    left_out = [key for key in written if key not in kept and key in usual and written[key] == usual[key] and r.flag()]
    shorter = {key: value for key, value in written.items() if key not in left_out}
    if "text_config" in written:
        shorter["text_config"] = without_defaults(written["text_config"], config.get_text_config(), r)
    return shorter


def fill(model, seed):
    """Random weights: matrices that keep the length of a vector, norms around what is usual, biases that count."""
    generator = torch.Generator().manual_seed(seed)
    kept = ("e_score_correction_bias", "expert_bias", "layer_scalar")
    corrections = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith(kept)]
    for name, parameter in [*model.named_parameters(), *corrections]:
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        if "embed_tokens" in name:
            values = 0.3 * noise
        elif "A_log" in name:
            values = noise - 1.5  # slow enough that states remember
        elif parameter.dim() == 1:
            usual = parameter.data.float().mean().round() if "bias" not in name else 0
            values = usual + 0.3 * noise
        else:
            values = noise / parameter.shape[-1] ** 0.5
        parameter.data.copy_(values)


def mxfp4(model, r):
    """Gives experts weights that MXFP4 holds: by name, their blocks and scales, (experts, rows, groups, ...)."""
    magnitudes = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    values = torch.cat([magnitudes, -magnitudes])
    generator = torch.Generator().manual_seed(r.randrange(1 << 30))
    packed = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        experts, cols, rows = parameter.shape
        codes = torch.randint(16, (experts, rows, cols // 32, 32), generator=generator)
        scales = torch.randint(121, 124, (experts, rows, cols // 32), generator=generator)
        weights = (values[codes] * 2.0 ** (scales[..., None] - 127)).reshape(experts, rows, cols)
        parameter.data.copy_(weights.transpose(1, 2))
        blocks = codes[..., 0::2] + 16 * codes[..., 1::2]
        packed[name] = (blocks.to(torch.uint8), scales.to(torch.uint8))
    return packed


TRAINED = {"trained_gemma2": gemma2, "trained_phi3": phi3}  # goldens alone
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 96, "tie_word_embeddings": True}


def letters():
    """This script as ids of its letters: a text that is here, and that a tiny model learns something of in a minute."""
    return torch.tensor([min(95, max(0, ord(letter) - 32)) for letter in Path(__file__).read_text()])


def train(model, seed, steps=260):
    """A minute of learning to tell the next letter; the last 129 letters are not seen."""
    torch.manual_seed(seed)
    text = letters()[:-129]
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        starts = torch.randint(0, len(text) - 65, (8,)).tolist()
        batch = torch.stack([text[start : start + 65] for start in starts])
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def contexts(config, length):
    """Contexts that a model is opened with: for long factors, also one that takes the short ones."""
    text = config.get("text_config", config)
    rope = text.get("rope_parameters") or {}
    return [24, length] if rope.get("rope_type") == "longrope" else [length]


def make(name, seed, folder, small):
    r = Draw(f"{name} {seed}", small)
    is_trained = name in TRAINED
    content = TRAINED[name](r) | SIZES if is_trained else FAMILIES[name](r)
    if name == "trained_phi3":
        content["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}
    model_class = getattr(transformers, content["architectures"][0])
    config = model_class.config_class.from_dict(copy.deepcopy(content))
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    torch.manual_seed(seed)
    model = model_class(config).eval()
    # Else as transformers fills it, with small weights and norms of 1; where it leaves routers 0, any experts are as good.
    if not is_trained and (small or r.random() < 0.8 or name == "ernie4_5_moe"):
        fill(model, seed)
    packed = mxfp4(model, r) if name == "gpt_oss" and r.flag() else {}
    if is_trained:
        train(model, seed)
    dtype = torch.bfloat16 if small or packed else r.choice([torch.float32, torch.bfloat16, torch.float16])
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    exact = copy.deepcopy(model).double()
    references = {}
    vocabulary = config.get_text_config().vocab_size - ("text_config" in content)  # the last is the image's
    for context in contexts(content, 128 if is_trained else LENGTH if small else r.choice([1, 33, 70, 128])):
        ids = letters()[None, -128:] if is_trained else torch.tensor([[r.randrange(vocabulary) for _ in range(context)]])
        with torch.no_grad():
            logits = exact(input_ids=ids, use_cache=False).logits[0]
            if not small and name != "deepseek_v2":  # whose rotation takes no odd strides in f32
                rounded = model(input_ids=ids, use_cache=False).logits[0] - logits
                references[f"rounded.{context}"] = rounded.abs().max().reshape(1).to(torch.float32)
        references[f"ids.{context}"] = ids[0].to(torch.int32)
        references[f"logits.{context}"] = logits.to(torch.float32).contiguous()
    save_file(references, folder / "logits.safetensors")
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    # Experts one by one, as releases have them, or stacked.
    shards = {} if small or packed else r.choice([{}, {"max_shard_size": "20KB"}])
    model.save_pretrained(folder, save_original_format=not content.get("num_experts_per_tok") or r.flag(), **shards)
    (folder / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((folder / "config.json").read_text())
    if packed:
        tensors = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if name not in packed}
        for name, (blocks, scales) in packed.items():
            tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        save_file(tensors, folder / "model.safetensors")
        written["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
        (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n")
    if name in OLDER if small else r.flag():
        (folder / "config.json").write_text(json.dumps(older(written), indent=2) + "\n")
    if not small and r.flag():
        shorter = without_defaults(json.loads((folder / "config.json").read_text()), config, r)
        (folder / "config.json").write_text(json.dumps(shorter, indent=2) + "\n")
    return sum(file.stat().st_size for file in folder.iterdir())


INDEX = """// The checkpoints here, as make.py made them: it writes this list.

"""


def write_index():
    names = sorted(folder.name for folder in HERE.iterdir() if (folder / "logits.safetensors").exists())
    lines = [INDEX]
    for name in names:
        lines.append(f"import {name}Config from './{name}/config.json';\n")
        lines.append(f"import {name}Logits from './{name}/logits.safetensors';\n")
        lines.append(f"import {name}Model from './{name}/model.safetensors';\n")
    lines.append("\ninterface Files {\n  readonly config: object;\n  readonly model: Uint8Array;\n  readonly logits: Uint8Array;\n}\n")
    lines.append("\n/** By family: what config.json says, the file of the tensors, that of the logits. */\n")
    lines.append("export const families: Readonly<Record<string, Files>> = {\n")
    for name in names:
        lines.append(f"  {name}: {{ config: {name}Config, model: {name}Model, logits: {name}Logits }},\n")
    lines.append("};\n")
    (HERE / "index.ts").write_text("".join(lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    for seed in given.seed:
        for name in given.names or [*FAMILIES, *([] if given.out else TRAINED)]:
            folder = given.out / f"{name}-{seed}" if given.out else HERE / name
            size = make(name, seed, folder, small=given.out is None)
            print(f"{name}: {size} bytes")
            if given.out is None and size > 150_000:
                sys.exit(f"{name} has more than 150 kB")
    if given.out is None:
        write_index()


if __name__ == "__main__":
    main()
