"""Checkpoints that higgs-wasm quantized, in PyTorch and transformers 5, on any device; weights stay packed.

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)   with this file in the checkpoint
    import higgs_wasm; AutoModelForCausalLM.from_pretrained(folder)         with this file on the path
    model.dequantize()                                                      plain weights: more memory, faster on a CPU
    dict(higgs_wasm.tensors(folder))                                        the weights alone, decoded

FORMAT.md of higgs-wasm says what the bytes mean. A matrix never stands decoded as a whole: activations are rotated once, and rows of
codes become scaled points a few million weights at a time. Needs torch, safetensors and, for models, transformers 5.
"""

import copy
import functools
import json
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open

METHOD = "higgs-wasm"
VERSION = "1"
PIECE = 1 << 22  # weights that are decoded at a time


# Grids ----------------------------------------------------------------------------------------------------------------------------


class Grid:
    """What codes stand for, as `higgs.grid.<name>` and its note have it: points, a trellis, or a trellis by labels."""

    def __init__(self, name, table, note):
        self.note = note
        self.is_points = table.dtype == torch.float32
        self.width = table.shape[1] if self.is_points else 1  # weights of a code
        self.bits = (table.shape[0] - 1).bit_length() if self.is_points else int(name[1])
        self.table = table if self.is_points else table.int()
        self.tables = {}  # by device

    def values(self, packed, cols):
        """Values of N(0, 1) that rows of codes stand for: U8 (rows, bytes) to f32 (rows, cols)."""
        if packed.device not in self.tables:
            self.tables[packed.device] = self.table.to(packed.device)
        table = self.tables[packed.device]
        if self.is_points:
            return look_up(table, unpack(packed, self.bits, -(-cols // self.width))).flatten(-2)[:, :cols]
        codes = unpack(packed, self.bits, 4 * -(-cols // 4)).unflatten(-1, (-1, 4))  # (rows, steps, 4 sequences)
        sums = self.by_labels(table, codes) if "kept" in self.note else self.by_tables(table, codes)
        return ((sums - self.note["zero"]) * self.note["step"]).flatten(-2)[:, :cols]

    def by_tables(self, table, codes):
        index = before(codes, 1) + 4 * codes if self.bits == 2 else codes
        return sum(look_up(table[back], before(index, back)) for back in range(3))

    def by_labels(self, table, codes):
        label = torch.zeros_like(codes)
        for back, kept in enumerate(self.note["kept"], 1):
            label ^= before(codes, back) & ((1 << kept) - 1)
        return look_up(table[0], codes & 15) + 16 * (codes >> 4) + look_up(table[1], label)


def before(codes, steps):
    """The codes so many steps before; before the first come the last."""
    return codes.roll(steps, -2) if steps else codes


def look_up(table, index):
    return table.index_select(0, index.flatten()).reshape(*index.shape, *table.shape[1:])


def unpack(packed, bits, count):
    """Codes of rows, a dense stream of bits, the lowest first: eight codes are `bits` bytes. (rows, bytes) to (rows, count)."""
    blocks = -(-count // 8)
    whole = F.pad(packed, (0, blocks * bits - packed.shape[1])).int().unflatten(-1, (blocks, bits))
    codes = []
    for first in range(0, 8 * bits, bits):
        low, high = first // 8, min(first // 8 + 1, bits - 1)
        codes.append((whole[..., low] | whole[..., high] << 8) >> first % 8 & ((1 << bits) - 1))
    return torch.stack(codes, -1).flatten(-2)[:, :count]


# Rotations ------------------------------------------------------------------------------------------------------------------------


@functools.cache
def runs_of(cols, group_size):
    """Groups of a row, as (first column, groups, size of each): the largest power of two that fits, again and again."""
    runs, start = [], 0
    while start < cols:
        size = min(group_size, 1 << (cols - start).bit_length() - 1)
        runs.append((start, (cols - start) // size, size))
        start += runs[-1][1] * size
    return runs


@functools.cache
def signs_of(seed, cols, device):
    """One sign a column, ±1 in f32."""

    def mix(h):
        h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
        h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
        return h ^ h >> 16

    if seed is None:
        return torch.ones(cols, device=device)
    words = [mix(mix(seed) + (k + 1) * 0x9E3779B9 & 0xFFFFFFFF) for k in range(-(-cols // 32))]
    return torch.tensor([1.0 - 2 * (words[i // 32] >> i % 32 & 1) for i in range(cols)], device=device)


@functools.cache
def sylvester(size, device):
    """The Hadamard matrix in natural order, unnormalised."""
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def hadamard(x, group_size):
    """H / √g of every group of the last dimension, as two products with smaller ones: H_ab = H_a ⊗ H_b."""
    parts = []
    for start, count, size in runs_of(x.shape[-1], group_size):
        inner = 1 << size.bit_length() // 2
        left, right = (sylvester(each, x.device).to(x.dtype) for each in (size // inner, inner))
        groups = x[..., start : start + count * size].unflatten(-1, (count, size // inner, inner))
        parts.append((left @ groups @ right / math.sqrt(size)).flatten(-3))
    return torch.cat(parts, -1)


# Weights that stay packed ---------------------------------------------------------------------------------------------------------


class Codes(torch.nn.Module):
    """One quantized tensor of the checkpoint: codes and scales of rows × cols weights. The scales are bits, which no cast changes."""

    def __init__(self, name, note, grid, device):
        super().__init__()
        self.name, self.grid, self.seed, self.group_size = name, grid, note["seed"], note["groupSize"]
        self.rows, self.cols = math.prod(note["shape"][:-1]), note["shape"][-1]
        codes = 4 * -(-self.cols // 4) if not grid.is_points else -(-self.cols // grid.width)
        groups = sum(count for _, count, _ in runs_of(self.cols, self.group_size))
        self.register_buffer("packed", torch.empty(self.rows, -(-codes * grid.bits // 8), dtype=torch.uint8, device=device))
        self.register_buffer("scales", torch.empty(self.rows, groups, dtype=torch.int16, device=device))

    def fill(self, file):
        self.packed.copy_(file.get_tensor(f"{self.name}.packed"))
        self.scales.copy_(file.get_tensor(f"{self.name}.scales").view(torch.int16))

    def rotated(self, rows):
        """σ · v of some rows, (rows, cols) in f32."""
        values = self.grid.values(self.packed[rows], self.cols)
        scales = self.scales[rows].view(torch.float16).float()
        parts, group = [], 0
        for start, count, size in runs_of(self.cols, self.group_size):
            run = values[:, start : start + count * size].unflatten(-1, (count, size))
            parts.append((run * scales[:, group : group + count, None]).flatten(-2))
            group += count
        return torch.cat(parts, -1)

    def decoded(self, rows):
        """Some rows as weights, (rows, cols) in f32."""
        return hadamard(self.rotated(rows), self.group_size) * signs_of(self.seed, self.cols, self.packed.device)

    def linear(self, x, first, end):
        """x times the transpose of rows `first` to `end`: rotated x, since H is its own inverse."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32)) * signs_of(self.seed, self.cols, x.device)
        x = hadamard(wide, self.group_size).to(x.dtype)
        step = max(1, PIECE // self.cols)
        pieces = [slice(row, min(row + step, end)) for row in range(first, end, step)]
        return torch.cat([F.linear(x, self.rotated(rows).to(x.dtype)) for rows in pieces], -1)


class Packed:
    """Stands where a weight does. Products and embeddings go by codes; for anything else the weight is decoded for a moment."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        first, second = (*args[:2], None, None)[:2]
        is_matrix = isinstance(second, Packed) and len(second.shape) == 2 and not isinstance(first, Packed)
        if function is F.linear and is_matrix and not second.is_turned:
            return second.linear(*args[:1], *args[2:], **kwargs)
        if function is F.embedding and isinstance(second, Weight) and second.can_embed:
            return second.embedding(first)
        is_product = function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
        if is_product and is_matrix and second.is_turned:
            return second.linear(first)
        plain = [arg.dequantize() if isinstance(arg, Packed) else arg for arg in args]
        named = {key: arg.dequantize() if isinstance(arg, Packed) else arg for key, arg in kwargs.items()}
        return function(*plain, **named)

    def size(self, dim=None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self):
        return len(self.shape)

    ndim = property(dim)

    def numel(self):
        return math.prod(self.shape)


class Matrix(Packed):
    """Rows of one or several tensors of codes, one below the other; `is_turned` gives the transpose."""

    def __init__(self, parts, is_turned, dtype):
        self.parts, self.is_turned, self.dtype = parts, is_turned, dtype  # parts: (codes, first row, end)
        sizes = (sum(end - first for _, first, end in parts), parts[0][0].cols)
        self.shape = torch.Size(sizes[::-1] if is_turned else sizes)
        self.device = parts[0][0].packed.device

    def linear(self, x, bias=None):
        y = torch.cat([codes.linear(x, first, end) for codes, first, end in self.parts], -1)
        return y if bias is None else y + bias

    def dequantize(self):
        rows = torch.cat([codes.decoded(slice(first, end)) for codes, first, end in self.parts]).to(self.dtype)
        return rows.T if self.is_turned else rows

    def __getattr__(self, name):
        return getattr(self.dequantize(), name)


class Weight(Packed, torch.nn.Module):
    """
    A parameter of a model by its codes: a matrix, or a stack of them, (experts, rows, cols). `parts` are the tensors that it is made of:
    all experts in one, or `each` of every expert.
    """

    def __init__(self, parts, shape, dtype, is_turned=False):
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)
        self.shape, self.dtype, self.is_turned = torch.Size(shape), dtype, is_turned
        self._is_hf_initialized = True  # transformers leaves it alone

    @property
    def device(self):
        return self.parts[0].packed.device

    @property
    def can_embed(self):
        return len(self.shape) == 2 and len(self.parts) == 1

    def matrix(self, expert=0):
        experts = self.shape[0] if len(self.shape) == 3 else 1
        expert = int(expert) % experts
        each = max(1, len(self.parts) // experts)
        if len(self.parts) == 1:
            rows = self.parts[0].rows // experts
            return Matrix([(self.parts[0], expert * rows, (expert + 1) * rows)], self.is_turned, self.dtype)
        parts = self.parts[expert * each : (expert + 1) * each]
        return Matrix([(codes, 0, codes.rows) for codes in parts], self.is_turned, self.dtype)

    def linear(self, x, bias=None):
        return self.matrix().linear(x, bias)

    def embedding(self, ids):
        rows = self.parts[0].decoded(ids.flatten())
        return rows.to(self.dtype).reshape(*ids.shape, -1)

    def dequantize(self):
        if len(self.shape) == 2:
            return self.matrix().dequantize()
        return torch.stack([self.matrix(expert).dequantize() for expert in range(self.shape[0])])

    def __getitem__(self, index):
        is_expert = isinstance(index, int) or (isinstance(index, torch.Tensor) and index.ndim == 0)
        return self.matrix(index) if is_expert and len(self.shape) == 3 else self.dequantize()[index]

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if not hasattr(torch.Tensor, name):
                raise
        return getattr(self.dequantize(), name)

    def _apply(self, fn, recurse=True):
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device="cpu")).dtype  # what embeddings are given in
        return super()._apply(fn, recurse)


# Files ----------------------------------------------------------------------------------------------------------------------------


class Checkpoint:
    """What the files say of themselves: notes of quantized weights by name, grids, and the file of each tensor."""

    def __init__(self, files):
        self.notes, self.grids, self.files = {}, {}, {}
        for path in files:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("higgs.format") != VERSION:
                    raise ValueError(f"{path}: higgs.format must be {VERSION}: it is {about.get('higgs.format')}")
                self.notes |= json.loads(about["higgs.tensors"])
                for name, note in json.loads(about.get("higgs.grids", "{}")).items():
                    self.grids[name] = Grid(name, file.get_tensor(f"higgs.grid.{name}"), note)
                self.files |= dict.fromkeys(file.keys(), path)

    def codes(self, name, device="meta"):
        note = self.notes[name]
        return Codes(name, note, self.grids[note["grid"]], device)

    def filled(self, codes):
        with safe_open(self.files[f"{codes.name}.packed"], framework="pt") as file:
            codes.fill(file)
        return codes

    def tensor(self, name):
        """A tensor as the original had it: decoded to f32 if it is quantized, else as it is."""
        if name in self.notes:
            return self.filled(self.codes(name, "cpu")).decoded(slice(None)).reshape(self.notes[name]["shape"])
        with safe_open(self.files[name], framework="pt") as file:
            return file.get_tensor(name)

    def names(self):
        """Of the original's tensors."""
        parts = {f"{name}.{part}" for name in self.notes for part in ("packed", "scales")}
        return [*self.notes, *(name for name in self.files if name not in parts and not name.startswith("higgs."))]


def tensors(folder):
    """Name and tensor of everything in a checkpoint, decoded one by one."""
    checkpoint = Checkpoint(sorted(Path(folder).glob("*.safetensors")))
    return ((name, checkpoint.tensor(name)) for name in checkpoint.names())


# transformers ---------------------------------------------------------------------------------------------------------------------

try:
    from transformers import AutoConfig
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin
except ImportError as error:  # tensors() works without
    HfQuantizer = QuantizationConfigMixin = object
    MISSING = error
else:
    MISSING = None


class Config:
    """What `auto_map` names, so that loading a configuration imports this file: the model's own configuration is given."""

    @classmethod
    def from_pretrained(cls, folder, **kwargs):
        if MISSING:
            raise ImportError("higgs_wasm needs transformers 5") from MISSING
        from transformers import PreTrainedConfig

        kwargs.pop("trust_remote_code", None)
        content, _ = PreTrainedConfig.get_config_dict(folder, **kwargs)
        reference = (content.get("quantization_config") or {}).get("auto_config")
        if reference:  # of a model with code of its own
            return get_class_from_dynamic_module(reference, folder, **kwargs).from_pretrained(folder, **kwargs)
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **kwargs)

    @classmethod
    def register_for_auto_class(cls, auto_class="AutoConfig"):
        pass


class HiggsWasmConfig(QuantizationConfigMixin):
    """`quantization_config` of config.json, which is for people: the files themselves say what they hold."""

    def __init__(self, **kwargs):
        self.quant_method = METHOD
        self.content = {key: value for key, value in kwargs.items() if key != "quant_method"}

    def to_dict(self):
        return {"quant_method": METHOD, **copy.deepcopy(self.content)}


class HiggsWasmQuantizer(HfQuantizer):
    """
    Puts `Weight`s where parameters were, before transformers loads the rest, and fills them after. Their buffers count as missing for
    transformers, which so gives them their devices.
    """

    requires_calibration = False
    is_trainable = False

    def is_serializable(self):
        return False  # copy the folder

    def update_tp_plan(self, config):
        for each in (config, config.get_text_config()):
            each.transformers_weights = None  # the note for those who load it without this file
            each._experts_implementation = "eager"  # the one that takes experts one by one
        return config

    def _process_model_before_weight_loading(self, model, checkpoint_files=None, dtype=None, **kwargs):
        self.pre_quantized = False  # what transformers itself loads is plain, to be cast as ever
        self.checkpoint = Checkpoint(checkpoint_files)
        self.dtype = dtype or torch.get_default_dtype()
        self.converted = []  # converters that codes do not go through, with the names of their sources
        targets = self.targets(model)
        for target, (converter, sources) in targets.items():
            parts = self.parts(model, target, converter, sources)
            if parts is None:
                self.converted.append((target, converter, sources))
            else:
                place(model, target, parts)
        tie(model, targets)
        model._keys_to_ignore_on_load_missing |= {r"\.parts\.\d+\.(packed|scales)$"}
        model._keys_to_ignore_on_load_unexpected |= {r"^higgs\.", r"\.(packed|scales)$"}
        model._keys_to_ignore_on_load_missing |= {re_of(target) for target, _, _ in self.converted}

    def update_weight_conversions(self, weight_conversions):
        """Keeps tensors that stand among codes from being converted without these."""
        names = [name for _, _, sources in self.converted for _, name in sources if name not in self.checkpoint.notes]
        return [*(WeightRenaming(re_of(name), "higgs.kept") for name in names), *weight_conversions]

    def targets(self, model):
        """By parameter: the converter of transformers that makes it, if one does, and the names of what it is made of."""
        state = model.state_dict()
        mapping = get_model_conversion_mapping(model)
        renamings = [each for each in mapping if isinstance(each, WeightRenaming)]
        converters = [each for each in mapping if isinstance(each, WeightConverter)]
        by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
        quantized, targets = set(), {}
        for name in sorted(self.checkpoint.names(), key=dot_natural_key):
            target, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, state)
            turned = target.removesuffix(".weight")  # experts of gpt-oss, which are transposed there
            if target not in state and turned in state and name in self.checkpoint.notes:
                target = turned
            if target not in state:
                continue  # of a part of the model that this class has not
            _, sources = targets.setdefault(target, (by_pattern.get(pattern), []))
            sources.append((pattern, name))
            if name in self.checkpoint.notes:
                quantized.add(target)
        return {target: targets[target] for target in targets if target in quantized}

    def parts(self, model, target, converter, sources):
        """The weight by its codes; None where it takes more than putting rows below rows, or a source is not quantized."""
        shape = tuple(model.get_parameter(target).shape)
        if any(name not in self.checkpoint.notes for _, name in sources):
            return None
        if converter is None:
            ((_, name),) = sources
            is_turned = self.is_turned(target, name)
            own = (*shape[:-2], shape[-1], shape[-2]) if is_turned else shape
            if own != tuple(self.checkpoint.notes[name]["shape"]):
                raise ValueError(f"{name}: shape must be {own}: it is {self.checkpoint.notes[name]['shape']}")
            return self.weight([name], shape, is_turned)
        operations = [type(each).__name__ for each in converter.operations]
        dims = [each.dim for each in converter.operations if hasattr(each, "dim")]
        if operations not in (["MergeModulelist"], ["MergeModulelist", "Concatenate"]) or dims not in ([0], [0, 1]):
            return None
        by_pattern = [[name for pattern, name in sources if pattern == each] for each in converter.source_patterns]
        experts = zip(*by_pattern, strict=True)
        return self.weight([name for expert in experts for name in expert], shape, False)

    @staticmethod
    def is_turned(target, name):
        """Whether the parameter is the transpose: the experts of gpt-oss, which the checkpoint has as matrices of a name of their own."""
        return name.endswith(".weight") and not target.endswith(".weight")

    def weight(self, names, shape, is_turned):
        return Weight([self.checkpoint.codes(name) for name in names], shape, self.dtype, is_turned)

    def _process_model_after_weight_loading(self, model, **kwargs):
        for module in model.modules():
            if isinstance(module, Codes):
                self.checkpoint.filled(module)
        for target, converter, sources in self.converted:
            converter = copy.deepcopy(converter)
            for pattern, name in sources:
                converter.add_tensor(target, name, pattern, functools.partial(self.checkpoint.tensor, name))
            for name, tensor in converter.convert(target, model=model, config=model.config).items():
                tensor = tensor[0] if isinstance(tensor, list) else tensor
                old = model.get_parameter(name)
                place(model, name, torch.nn.Parameter(tensor.to(old.device, self.dtype), requires_grad=False))
        return model

    def _dequantize(self, model, dtype=None):
        plain = {}  # tied weights stay one
        for module in list(model.modules()):
            for name, child in list(module._modules.items()):
                if not isinstance(child, Weight):
                    continue
                if child not in plain:
                    plain[child] = torch.nn.Parameter(child.dequantize().to(dtype or child.dtype), requires_grad=False)
                del module._modules[name]
                module.register_parameter(name, plain[child])
        return model


def re_of(name):
    return f"^{re.escape(name)}$"


def place(model, name, value):
    owner, _, last = name.rpartition(".")
    owner = model.get_submodule(owner)
    if last in owner._parameters:
        del owner._parameters[last]
    setattr(owner, last, value)


def tie(model, targets):
    """Ties what transformers would tie by parameters: the head to packed embeddings, or the other way round."""
    for target, source in list(model.all_tied_weights_keys.items()):
        if target in targets or source in targets:
            del model.all_tied_weights_keys[target]
            if not (target in targets and source in targets):
                packed, other = (source, target) if source in targets else (target, source)
                owner, _, last = packed.rpartition(".")
                place(model, other, getattr(model.get_submodule(owner), last))


if not MISSING:  # again, if another checkpoint brought this file too
    AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = HiggsWasmConfig
    AUTO_QUANTIZER_MAPPING[METHOD] = HiggsWasmQuantizer
