// A decoder as its family reads it from a config.json: plain data, every tensor by name. What its blocks do is in src/model/blocks/.

import type { Rope } from './rope.ts';

/** A linear weight, y = W x + b: `<name>.weight` (rows, cols), and `<name>.bias` (rows) if it has one. */
export interface LinearSpec {
  /** Of the tensor, without `.weight`. */
  readonly name: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  /** Whether there is a bias, (rows). */
  readonly bias: boolean;
  /** Its name in files that name it otherwise. */
  readonly alias?: string;
  /** Where it stands in files that stack experts: rows from `first` on of a tensor of all. */
  readonly stack?: { readonly name: string; readonly shape: readonly [number, number, number]; readonly first: number };
}

/** A tensor that is no weight. */
export interface NamedTensor {
  /** As the checkpoint has it. */
  readonly name: string;
}

/** A norm: its tensor, and what is added to every weight of it, 1 where checkpoints hold w - 1. */
export interface NormSpec {
  /** Of the tensor, as the checkpoint has it. */
  readonly name: string;
  /** Added to every weight. */
  readonly plus: 0 | 1;
}

/** What a block adds to the residual stream: x += multiplier · postNorm(output y). */
export interface BranchSpec {
  /** The last weight of the block, (dim, inputs). */
  readonly output: LinearSpec;
  /** Norm of what is added, if there is one. */
  readonly postNorm: NormSpec | undefined;
  /** What the output is multiplied by. */
  readonly multiplier: number;
  /** Tensor, (1), that the residual stream is multiplied by after. */
  readonly scalar?: NamedTensor | undefined;
}

/** What attention has beside its weights: for specs, and for blocks that run. */
export interface AttentionTraits {
  readonly kind: 'attention';
  /** Heads of queries. */
  readonly heads: number;
  /** Heads of keys and values; `heads` is a multiple. */
  readonly kvHeads: number;
  /** Elements of a head. */
  readonly headDim: number;
  /** Positions that a token sees, itself among them; 0 for all. */
  readonly window: number;
  /** What products of queries and keys are multiplied by. */
  readonly scale: number;
  /** Scores s become cap · tanh(s / cap); 0 for no cap. */
  readonly cap: number;
  /** Queries from position `original` on are multiplied by 1 + beta · ln(1 + ⌊position / original⌋). */
  readonly temperature: { readonly beta: number; readonly original: number } | undefined;
  /** Whether the weight of queries has a gate behind each head: what the head mixes is multiplied by its sigmoid. */
  readonly gated?: boolean | undefined;
  /** Whether heads of values are normed, too, without weights. */
  readonly normsValues?: boolean | undefined;
}

/** Norms of queries and keys: of each head before rope or after it, or of all heads of a token as one vector, before rope. */
interface QueryKeyNorms {
  readonly q: NormSpec;
  readonly k: NormSpec;
  readonly of: 'head' | 'turnedHead' | 'row';
}

/** Attention over queries, keys and values: shapes and names of its tensors. */
export interface AttentionSpec extends AttentionTraits, BranchSpec {
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /**
   * Weights of queries, keys and values; or one that has the rows of all three, in this order; of queries and keys where values are
   * the keys before their norm; of queries alone where the cache is another layer's.
   */
  readonly inputs: readonly LinearSpec[];
  /** Norms of queries and keys, if there are such. */
  readonly queryKeyNorms: QueryKeyNorms | undefined;
  /** Rotary positions, if the layer has them. */
  readonly rope: Rope | undefined;
  /** Whose cache it is, where layers share one: the name that the owner and those that borrow it have. */
  readonly cache?: { readonly key: string; readonly isOwn: boolean } | undefined;
  /** Tensor of a score for each head that takes its part of the softmax, and no value. */
  readonly sinks?: NamedTensor | undefined;
}

/** Sizes of latent attention: for specs, and for blocks that run. */
export interface LatentTraits {
  readonly kind: 'latent';
  /** Heads of queries, keys and values. */
  readonly heads: number;
  /** Elements of a head's query and key that do not turn, and those that do, behind them; elements of its value. */
  readonly plain: number;
  /** Elements of a head's query and key that rope turns. */
  readonly turned: number;
  /** Elements of a head's value. */
  readonly valueDim: number;
  /** Elements of a latent. */
  readonly rank: number;
  /** What products of queries and keys are multiplied by. */
  readonly scale: number;
  /** Of the norms of latents. */
  readonly latentEpsilon: number;
}

/** Attention whose keys and values, of all heads, are products of one latent a token. */
export interface LatentSpec extends LatentTraits, BranchSpec {
  /** Norm of the residual stream before it. */
  readonly norm: NormSpec | undefined;
  /** What makes a latent that queries are made of, where they are. */
  readonly queryLatent: { readonly weight: LinearSpec; readonly norm: NormSpec } | undefined;
  /** (heads · (plain + turned), dim or elements of that latent) */
  readonly queries: LinearSpec;
  /** (rank + turned, dim): the latent, and the turned elements of every head's key. */
  readonly latent: LinearSpec;
  /** The norm of the latent, (rank). */
  readonly latentNorm: NormSpec;
  /** (heads · (plain + valueDim), rank): of each head its key, then its value. */
  readonly keyValues: LinearSpec;
  /** Rotary positions of the turned elements. */
  readonly rope: Rope;
}

/** What gates are put through, gelu in its tanh form; or what stands for them without a gate, max(x, 0)². */
export type Activation = 'silu' | 'gelu' | 'reluSquared';

/** A feed-forward network, gated or not: shapes and names of its tensors. */
export interface FeedForwardSpec extends BranchSpec {
  readonly kind: 'feedForward';
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /** Weights of gate and up, or one that has the rows of both, in this order; without a gate, that of up. */
  readonly inputs: readonly LinearSpec[];
  /** What the gate goes through. */
  readonly activation: Activation;
}

/** What each layer takes of the token's own vector for it: x += postNorm(output(gelu(gate x) ∘ vector)). */
export interface PerLayerSpec extends BranchSpec {
  readonly kind: 'perLayer';
  /** The weight of the gate, (elements of a vector, dim). */
  readonly gate: LinearSpec;
  /** Where its vector begins among those of all layers. */
  readonly first: number;
}

/** Vectors of a token for all layers, one behind the other: (norm(projection x · scale) + embedding · √width) / √2, x its embedding. */
interface PerLayerInputs {
  readonly width: number;
  readonly embedding: LinearSpec;
  readonly projection: LinearSpec;
  readonly norm: NormSpec;
}

/** A causal convolution of each channel over the last `taps` tokens: its tensor, (channels, 1, taps), and whether it has a bias. */
interface KernelSpec {
  readonly name: string;
  readonly channels: number;
  readonly taps: number;
  readonly bias: boolean;
}

/** A gated short convolution: output(c ∘ convolve(b ∘ x)). */
export interface ConvolutionSpec extends BranchSpec {
  readonly kind: 'convolution';
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /** The weight of b, c and x, in this order. */
  readonly input: LinearSpec;
  /** The convolution: channels and taps. */
  readonly kernel: KernelSpec;
}

/** What the gated delta rule has beside its weights. */
export interface DeltaTraits {
  readonly kind: 'delta';
  /** Heads of queries and keys, and of values and gates: a multiple. */
  readonly keyHeads: number;
  /** Heads of values and gates. */
  readonly valueHeads: number;
  /** Elements of a head's query and key. */
  readonly keyDim: number;
  /** Elements of a head's value. */
  readonly valueDim: number;
}

/** The gated delta rule behind a causal convolution of queries, keys and values. */
export interface DeltaSpec extends DeltaTraits, BranchSpec {
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /**
   * Weights of [queries, keys, values], output gates, betas, decays; or of two that have the heads one by one: [query, key, its
   * values, its output gates], and [its betas, its decays].
   */
  readonly inputs: readonly LinearSpec[];
  /** The convolution of queries, keys and values. */
  readonly kernel: KernelSpec;
  /** Tensors, (valueHeads): logarithms of the rates of decay, and what is added to decays. */
  readonly rates: NamedTensor;
  /** What is added to decays, (valueHeads). */
  readonly bias: NamedTensor;
  /** The norm of each head of the output. */
  readonly headNorm: NormSpec;
}

/** Which experts a token goes to, and with what weights: assembly/decoder/route.ts has the formula. */
export interface Routing {
  /** Whether scores are 1 / (1 + e^-z) of the logits, not their softmax. */
  readonly sigmoid: boolean;
  /** Experts of a token. */
  readonly top: number;
  /** Groups of experts, and those of them that a token's experts are in. */
  readonly groups: number;
  /** Groups that a token's experts are in. */
  readonly taken: number;
  /** Whether a group counts as the sum of its two largest scores, not as its largest. */
  readonly two: boolean;
  /** Whether weights are divided by their sum. */
  readonly normalize: boolean;
  /** Weights are multiplied by it. */
  readonly factor: number;
}

/** A gated feed-forward network: down(f(gate x) ∘ up x). Without `up`, the rows of both stand in `gate` in turn. */
export interface ExpertSpec {
  /** The weight of the gate, (hidden, dim), or of gate and up in turn. */
  readonly gate: LinearSpec;
  /** The weight of up, (hidden, dim). */
  readonly up: LinearSpec | undefined;
  /** The weight of down, (dim, hidden). */
  readonly down: LinearSpec;
}

/** A mixture of experts behind a router: shapes and names of its tensors. */
export interface ExpertsSpec {
  readonly kind: 'experts';
  /** Norm of the residual stream before it, if there is one. */
  readonly norm: NormSpec | undefined;
  /** The router, (experts, dim). */
  readonly router: LinearSpec;
  /** The tensor of what is added to scores where experts are chosen, (experts). */
  readonly correction: (NamedTensor & { readonly shape: readonly number[] }) | undefined;
  /** How experts are chosen. */
  readonly routing: Routing;
  /** The experts that tokens are routed to. */
  readonly experts: readonly ExpertSpec[];
  /** The expert that all tokens go to, if there is one; and the weight of its gate, (1, dim), where it has one. */
  readonly shared: ExpertSpec | undefined;
  /** The weight of the shared expert's gate, (1, dim), where it has one. */
  readonly sharedGate: LinearSpec | undefined;
  /** What the gate goes through. */
  readonly activation: Activation | 'clamped';
  /** Tensors of the experts' biases, (experts, rows). */
  readonly biases?: { readonly gate: NamedTensor; readonly down: NamedTensor };
  /** Norms of each part, where there are such; `norm` is that of the experts' input. */
  readonly apart?: ApartSpec;
}

/** Router, experts and shared expert apart: x += postNorm(sharedPost(shared(sharedNorm x)) + expertsPost(Σ w_e · e(norm x))). */
interface ApartSpec {
  readonly routerNorm: NormSpec;
  readonly sharedNorm: NormSpec;
  readonly sharedPost: NormSpec;
  readonly expertsPost: NormSpec;
  readonly postNorm: NormSpec;
  /** What the router's logits are multiplied by. */
  readonly logitScale: number;
  /** The tensor of what the weights of each expert are multiplied by, (experts). */
  readonly factors: NamedTensor;
  /** Tensor, (1), that the residual stream is multiplied by after. */
  readonly scalar?: NamedTensor;
}

/** A residual block, x += f(x). */
export type BlockSpec =
  | AttentionSpec
  | ConvolutionSpec
  | DeltaSpec
  | ExpertsSpec
  | FeedForwardSpec
  | LatentSpec
  | PerLayerSpec;

/** What a model's configuration says of its ids. */
export interface Vocabulary {
  /** Number of ids. */
  readonly vocabSize: number;
  /** Most ids of a text: positions that the model was made for; of a loaded model, that it runs. */
  readonly contextLength: number;
  /** The id that begins a text, if there is one. */
  readonly bos: number | undefined;
  /** Ids that end a text; none if the model has no such id. */
  readonly eos: readonly number[];
}

/** A model as its config.json describes it: from ids to logits, with every tensor's name and shape. */
export interface Architecture extends Vocabulary {
  /** As `model_type` names it. */
  readonly family: string;
  /** Elements of a hidden state. */
  readonly dim: number;
  /** Of the norms. */
  readonly epsilon: number;
  /** Token embeddings, (vocabSize, dim). */
  readonly embedding: LinearSpec;
  /** Embeddings are multiplied by it. */
  readonly embeddingScale: number;
  /** What makes vectors of tokens for all layers, where layers have such. */
  readonly perLayer?: PerLayerInputs | undefined;
  /** The blocks of each layer, in order. */
  readonly layers: readonly (readonly BlockSpec[])[];
  /** The last norm, (dim). */
  readonly norm: NormSpec;
  /** The output head, (vocabSize, dim). */
  readonly head: LinearSpec;
  /** Logits are multiplied by it, and then capped: z becomes cap · tanh(z / cap); 0 for no cap. */
  readonly logitScale: number;
  /** The cap of logits; 0 for none. */
  readonly logitCap: number;
  /** Whether the output head is the token embedding; undefined if config.json does not say. */
  readonly tied: boolean | undefined;
}
