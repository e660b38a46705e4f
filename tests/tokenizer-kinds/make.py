"""Makes goldens.json: tokenizer.json files of each kind in use, and what the Rust tokenizers library makes of hard texts.

The vocabularies are tiny and trained here; the steps around them are those that published families have.
Run: python tests/tokenizer-kinds/make.py, with tokenizers 0.23; with --seed 7 --out FILE of random texts, for tests/tokenizer-kinds.test.ts.
"""

import argparse
import json
import pathlib
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox doesn't jump over the lazy dogs; it's what they'd say, I'm told.",
    "def add(left, right):\n    return left + right\n\n\nprint(add(12345, 678.90))\n",
    "naïve café déjà vu — “quotes” … Straße ÜBER über",
    "你好，世界。今日は良い天気です。안녕하세요 세계",
    "HTTPServer parseHTML camelCase words WORDS Words the the the and and and",
    "１２３ １２３ ²³ ²³ 12 34 !! !! ?! ?! ... ... --- --- a--b",
    "😀😀 👩‍👩‍👧 🎉 👍🏽 नमस्ते दुनिया สวัสดี שלום مرحبا",
] * 4
TEXTS = [
    " ",
    "a",
    "Hello world",
    " leading space",
    "  two  spaces   three ",
    "trailing \n",
    "\n\nlines\r\n\r\nmore\n \n  \ttabs\t",
    "It's WE'RE they'LL I’m don't",
    "x=12345678; y=3.14e-10, z=１２３ ²³",
    "naïve café — “quotes”…",
    "e\u0301 cafe\u0301 n\u0303 a\u0323\u0301",
    "你好，世界。今日は㍿ ﬁ ｶﾞ 안녕 각",
    "😀👩‍👩‍👧👍🏽 🇫🇷",
    "नमस्ते สวัสดี שָׁלוֹם مرحبا",
    "\u0000\u0007\u001b[1m \ufeff\u200b\u00a0\u3000\u2028",
    "HTTPServer parseHTML camelCase don'T ǅungla",
    "<s>text</s> <|tool|> <think>a</think>\n<think> b",
    "<|tool|>  <|tool|>x<|tool|>",
    "▁a ▁ ▁▁b",
    "<0x41><0xC3><0xA9> <unk>",
    "if (a!=b) { return a//b; } /* c */ \\n $x_1 #tag @me",
    "𝔘𝔫𝔦 𐍈 \U000e0041 ‘a’ ₿",
    "(a)[b]{c}<d> ... ?!?! --- ===",
]

SPECIALS = ["<unk>", "<s>", "</s>"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UP, LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def o200k(contractions):
    head = r"[^\r\n\p{L}\p{N}]?"
    digits = r"\p{N}{1,3}" if contractions else r"\p{N}"
    return (
        f"{head}{UP}*{LOW}+{contractions}|{head}{UP}+{LOW}*{contractions}|{digits}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


DEEPSEEK3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_steps(*steps):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def trained(model, trainer, pre, normalizer=None):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    return json.loads(tokenizer.to_str())["model"]


def vocabularies():
    byte = trained(
        models.BPE(),
        trainers.BpeTrainer(
            vocab_size=420, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=SPECIALS
        ),
        byte_steps(split(r"\S+|\s+")),
    )
    base = trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=220, show_progress=False, special_tokens=SPECIALS, limit_alphabet=90),
        pre_tokenizers.Metaspace(),
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = SPECIALS + bytes_ + [token for token in base["vocab"] if token not in SPECIALS]
    sentence = {
        **base,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {token: i for i, token in enumerate(tokens)},
    }
    uni = trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=200, show_progress=False, special_tokens=SPECIALS, unk_token="<unk>"),
        pre_tokenizers.Metaspace(),
    )
    unigram = {**uni, "vocab": [[token, round(score, 4)] for token, score in uni["vocab"]]}
    pieces = [pair for pair in unigram["vocab"] if pair[0] not in SPECIALS]
    fallback = {
        **unigram,
        "byte_fallback": True,
        "vocab": [[token, 0.0] for token in SPECIALS] + [[token, 0.0] for token in bytes_] + pieces,
    }
    word = trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(
            vocab_size=260, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        ),
        pre_tokenizers.BertPreTokenizer(),
        normalizers.BertNormalizer(),
    )
    return {"byte": byte, "sentence": sentence, "unigram": unigram, "fallback": fallback, "word": word}


def added(begin, plain=True):
    tokens = [AddedToken(token, special=True, normalized=False) for token in begin]
    if plain:
        tokens += [
            AddedToken("<|tool|>", special=True, normalized=False, lstrip=True, rstrip=True),
            AddedToken("<think>", special=False, normalized=False),
            AddedToken("</think>", special=False, normalized=True),
        ]
    return tokens


BEGIN = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
ROBERTA = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), False, False)
TO_SPACE = decoders.Replace("▁", " ")


def kinds():
    """Name, vocabulary, and the steps around it."""
    byte = lambda pre, norm=None, post=None: ("byte", norm, pre, post, decoders.ByteLevel())
    level = pre_tokenizers.ByteLevel
    yield "GPT-2, Phi", *byte(level(add_prefix_space=False))
    yield "GPT-2 with a space in front", *byte(level(add_prefix_space=True), None, ROBERTA)
    yield "GPT-NeoX, OLMo", *byte(level(add_prefix_space=False), normalizers.NFC())
    digits = pre_tokenizers.Digits(individual_digits=True)
    yield "SmolLM2, Granite", *byte(pre_tokenizers.Sequence([digits, level(add_prefix_space=False)]))
    yield "Llama 3, SmolLM3, LFM2, GLM", *byte(byte_steps(split(LLAMA3)), None, BEGIN)
    yield "Llama 3, removed inverted", *byte(byte_steps(split(LLAMA3, "removed", True)))
    yield "Qwen 2", *byte(byte_steps(split(QWEN2)), normalizers.NFC())
    yield "Qwen 3.5", *byte(byte_steps(split(QWEN35)), normalizers.NFC())
    yield "gpt-oss, Phi-4", *byte(byte_steps(split(o200k("(?i:'s|'t|'re|'ve|'m|'ll|'d)?"))))
    yield "Ministral", *byte(byte_steps(split(o200k(""))), None, BEGIN)
    yield "DeepSeek V2", *byte(
        byte_steps(
            split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), digits
        ),
        normalizers.Sequence([]),
        BEGIN,
    )
    yield "DeepSeek V3, HunYuan", *byte(
        byte_steps(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK3)), normalizers.Sequence([]), BEGIN
    )
    for behavior in ["merged_with_previous", "merged_with_next", "contiguous", "removed"]:
        yield f"split {behavior}", *byte(byte_steps(split(r"\s", behavior)))
    yield "split merged_with_next, inverted", *byte(byte_steps(split(r"\p{L}+", "merged_with_next", True)))
    for behavior in ["contiguous", "isolated", "removed"]:
        yield f"punctuation {behavior}", *byte(byte_steps(pre_tokenizers.Punctuation(behavior)))
    yield "digits in a row", *byte(byte_steps(pre_tokenizers.Digits(False)))

    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fallback = [TO_SPACE, decoders.ByteFallback(), decoders.Fuse()]
    strip = decoders.Sequence([*fallback, decoders.Strip(" ", 1, 0)])
    meta = pre_tokenizers.Metaspace
    yield "Llama 2, Mixtral, Phi-3", "sentence", prepend, None, BEGIN, strip
    yield "Mistral, Metaspace first", "sentence", None, meta("▁", "first", False), BEGIN, strip
    yield "Metaspace always, split", "sentence", None, meta("▁", "always", True), BEGIN, decoders.Metaspace("▁", "always", True)
    yield "Metaspace never", "sentence", None, meta("▁", "never", False), None, decoders.Metaspace("▁", "never", False)
    yield "Gemma, ERNIE", "sentence", normalizers.Replace(" ", "▁"), pre_tokenizers.Split(
        " ", "merged_with_previous"
    ), BEGIN, decoders.Sequence(fallback)

    yield "T5", "unigram", normalizers.NFKC(), pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), meta("▁", "always")]
    ), BEGIN, decoders.Metaspace("▁", "always")
    yield "ALBERT", "unigram", normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    ), meta("▁", "always"), None, decoders.Metaspace("▁", "always")
    yield "Unigram, byte fallback", "fallback", normalizers.Replace(" ", "▁"), None, BEGIN, strip

    bert = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    pre = pre_tokenizers.BertPreTokenizer()
    yield "BERT", "word", normalizers.BertNormalizer(), pre, bert, decoders.WordPiece("##", True)
    yield "BERT, cased", "word", normalizers.BertNormalizer(True, True, False, False), pre, bert, decoders.WordPiece(
        "##", False
    )
    yield "WordPiece, whitespace", "word", None, pre_tokenizers.Whitespace(), None, decoders.WordPiece("##", True)


def random_texts(seed, count=120):
    """Words, marks and pieces of the texts above, characters of theirs and of any plane, put together at random."""
    r = random.Random(seed)
    # Not bytes that are no UTF-8: the library writes all of a row as unknown where one is.
    whole = "".join(CORPUS[:7] + [text for text in TEXTS if "<0xC3>" not in text])
    marks = ["<s>", "</s>", "<unk>", "<|tool|>", "<think>", "</think>", "[SEP]", "<0x0A>", "▁", "##a", "'s", "'LL", "\r\n", "  ", "\t"]

    def piece():
        kind = r.randrange(6)
        if kind == 0:
            start = r.randrange(len(whole))
            return whole[start : start + r.randint(1, 12)]
        if kind == 1:
            return r.choice(marks)
        if kind == 2:
            return r.choice(whole) * r.randint(1, 4)
        if kind == 3:
            return "".join(r.choice("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 .,-_") for _ in range(r.randint(1, 9)))
        if kind == 4:
            return r.choice([" ", "\n", " \n", "\u00a0", "\u3000", "é", "e\u0301", "ß", "İ", "ǆ", "ﬀ", "½", "Ⅷ", "한", "中", "🙂"])
        code = r.choice([r.randrange(0x20, 0x250), r.randrange(0x370, 0x2000), r.randrange(0x2000, 0xD800), r.randrange(0x10000, 0x20000)])
        # Engines and the library know several versions of Unicode: what has been the same since an early one.
        kinds = {unicodedata.category(chr(code)), unicodedata.ucd_3_2_0.category(chr(code))}
        return chr(code) if len(kinds) == 1 and not kinds & {"Cn", "Mn"} else " "

    return ["".join(piece() for _ in range(r.randint(1, 10))) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "goldens.json")
    given = parser.parse_args()
    texts = TEXTS if given.seed is None else random_texts(given.seed)
    # Training depends on the order of hashes: random texts are cut by the vocabularies of the goldens.
    goldens = pathlib.Path(__file__).parent / "goldens.json"
    vocabulary = vocabularies() if given.seed is None else json.loads(goldens.read_text(encoding="utf-8"))["models"]
    found = []
    for name, model, normalizer, pre, post, decoder in kinds():
        tokenizer = Tokenizer.from_str(
            json.dumps({"version": "1.0", "model": vocabulary[model], "added_tokens": []})
        )
        for member, value in [("normalizer", normalizer), ("pre_tokenizer", pre), ("post_processor", post)]:
            if value is not None:
                setattr(tokenizer, member, value)
        tokenizer.decoder = decoder
        tokenizer.add_tokens(added(["[CLS]", "[SEP]", "[UNK]"] if model == "word" else SPECIALS))
        content = json.loads(tokenizer.to_str())
        content = {key: content[key] for key in ["added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"]}
        ids = [tokenizer.encode(text).ids for text in texts]
        found.append(
            {
                "name": name,
                "model": model,
                "content": content,
                "ids": ids,
                "text": [tokenizer.decode(each) for each in ids],
                "all": [tokenizer.decode(each, skip_special_tokens=False) for each in ids],
            }
        )
    head = {"texts": texts, "models": vocabulary}
    lines = ",\n".join(f'"{key}": {dense(value)}' for key, value in head.items())
    rest = ",\n".join(dense(each) for each in found)
    given.out.write_text("{\n" + lines + ',\n"tokenizers": [\n' + rest + "\n]\n}\n", encoding="utf-8")


def dense(value):
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


main()
