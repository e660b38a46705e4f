// Experts that share slots of memory: tokens/s and how many experts were in memory, of a seeded model with the ratios of Qwen3-30B-A3B
// (128 experts a layer, 8 a token, width 3/8 of dim), in 16 layers of dim 512. Of random weights experts are chosen evenly, which is
// the worst case. The model is written once; the system's cache of files holds it.
//   node build/bench/paging.js <directory> [threads]
// With `cold` it drops the files from the system's cache before each token, and compares reading with and without asking ahead, in turns:
//   node build/bench/paging.js <directory> <threads> cold

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layOutShards } from '../src/checkpoint/safetensors/layout.ts';
import { folderOf, load } from '../src/index.ts';
import { estimateMemory, loadLanguage } from '../src/model/model.ts';
import { createFolder, openFolder } from '../src/source/file.ts';
import type { Folder } from '../src/source/source.ts';
import { withSequence } from '../src/text/language.ts';
import { startPool, startThreads } from '../src/workers/node.ts';
import { normals, uniform } from '../tests/bits.ts';

const [LAYERS, DIM, WIDTH, EXPERTS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY] = [16, 512, 192, 128, 8, 2, 64, 8192];
const TOKENS = 128;
const RUNS = 3;
const NONE = { rate: 0, share: 0, bytes: 0, cpu: 0 };

const config = {
  ...{ architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', attention_bias: false, hidden_act: 'silu' },
  ...{ decoder_sparse_step: 1, mlp_only_layers: [], hidden_size: DIM, intermediate_size: 3 * DIM, head_dim: HEAD_DIM },
  ...{ moe_intermediate_size: WIDTH, norm_topk_prob: true, num_attention_heads: HEADS, num_experts: EXPERTS },
  ...{ num_experts_per_tok: 8, num_hidden_layers: LAYERS, num_key_value_heads: KV_HEADS, rms_norm_eps: 1e-6 },
  ...{ rope_theta: 1e6, rope_scaling: null, sliding_window: null, use_sliding_window: false },
  ...{ tie_word_embeddings: true, vocab_size: VOCABULARY, max_position_embeddings: 4096, torch_dtype: 'bfloat16' },
};

function shapes(): [name: string, shape: number[]][] {
  const layers = Array.from({ length: LAYERS }, (_, i): [string, number[]][] => [
    [`${i}.input_layernorm`, [DIM]],
    [`${i}.self_attn.q_proj`, [HEADS * HEAD_DIM, DIM]],
    [`${i}.self_attn.k_proj`, [KV_HEADS * HEAD_DIM, DIM]],
    [`${i}.self_attn.v_proj`, [KV_HEADS * HEAD_DIM, DIM]],
    [`${i}.self_attn.o_proj`, [DIM, HEADS * HEAD_DIM]],
    [`${i}.self_attn.q_norm`, [HEAD_DIM]],
    [`${i}.self_attn.k_norm`, [HEAD_DIM]],
    [`${i}.post_attention_layernorm`, [DIM]],
    [`${i}.mlp.gate`, [EXPERTS, DIM]],
    ...Array.from({ length: EXPERTS }, (_, e): [string, number[]][] => [
      [`${i}.mlp.experts.${e}.gate_proj`, [WIDTH, DIM]],
      [`${i}.mlp.experts.${e}.up_proj`, [WIDTH, DIM]],
      [`${i}.mlp.experts.${e}.down_proj`, [DIM, WIDTH]],
    ]).flat(),
  ]).flat();
  const all: [string, number[]][] = layers.map(([name, shape]) => [`model.layers.${name}.weight`, shape]);
  return [['model.embed_tokens.weight', [VOCABULARY, DIM]], ...all, ['model.norm.weight', [DIM]]];
}

// Weights are made as they are read, from a pool whose length divides no matrix.
async function write(path: string): Promise<void> {
  const samples = normals((1 << 20) + 3);
  const pool = new Uint8Array(Uint16Array.from(new Uint32Array(samples.buffer), (bits) => bits >>> 16).buffer);
  const specs = shapes().map(([name, shape]) => {
    const byteLength = shape.reduce((product, size) => product * size, 2);
    return { name, shape, dtype: 'BF16', byteLength };
  });
  const [{ fileName, header, byteLength }] = layOutShards(
    specs.map((spec) => [spec]),
    { maxShardBytes: 1e12, align: false },
  );
  const source = {
    byteLength,
    async slice(start: number, end: number): Promise<ArrayBuffer> {
      const bytes = new Uint8Array(end - start);
      if (start < header.length) bytes.set(header.subarray(start, end));
      for (let at = Math.max(start, header.length); at < end; ) {
        const from = (at - header.length) % pool.length;
        const part = pool.subarray(from, from + end - at);
        bytes.set(part, at - start);
        at += part.length;
      }
      return bytes.buffer;
    },
  };
  const text = JSON.stringify(config);
  const folder = folderOf('seeded', {
    [fileName]: source,
    'config.json': new TextEncoder().encode(text).buffer,
  });
  const output = await createFolder(path);
  const workers = await startPool(2);
  await (await load()).quantizeCheckpoint(folder, output, { grid: 't4', embeddings: 't4', pool: workers });
  await workers.close();
  await output.close();
  if (!existsSync(join(path, 'config.json'))) await writeFile(join(path, 'config.json'), text);
}

const [path, threads = '1', how] = process.argv.slice(2);
if (!existsSync(path)) await write(path);
const folder = await openFolder(path);
const options = { context: 512 };
const count = Number(threads);
const { bytes, experts } = await estimateMemory(folder, options);
const next = uniform(7);
const ids = Array.from({ length: TOKENS }, () => Math.floor(next() * VOCABULARY));
const sizes = [bytes, experts.bytes].map((size) => (size / 1e6).toFixed(0));
console.log(`${sizes[0]} MB, ${sizes[1]} MB of it experts; ${threads} threads\n`);
if (how === 'cold') await compareCold();
else await measureWarm();
await folder.close();

async function measureWarm(): Promise<void> {
  console.log(
    '| experts in memory | prompt, tokens/s | experts found | generation, tokens/s | experts found | read a token | processor, ms a token |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const part of [1, 0.6, 0.3]) {
    const memory = Math.floor(bytes - (1 - part) * experts.bytes);
    const model = await loadLanguage(folder, {
      ...options,
      ...(part < 1 && { memory }),
      ...(count > 1 && { threads: await startThreads(count) }),
    });
    const measured = async (work: () => Promise<unknown>) => {
      const before = { hits: 0, misses: 0, bytesRead: 0, ...model.paging };
      const [began, cpu] = [performance.now(), process.cpuUsage()];
      await work();
      const rate = (1000 * TOKENS) / (performance.now() - began);
      const { user, system } = process.cpuUsage(cpu);
      const after = { hits: 0, misses: 0, bytesRead: 0, ...model.paging };
      const hits = after.hits - before.hits;
      const share = model.paging ? hits / (hits + after.misses - before.misses) : 1;
      return {
        rate,
        share,
        bytes: (after.bytesRead - before.bytesRead) / TOKENS,
        cpu: (user + system) / 1000 / TOKENS,
      };
    };
    const best = { prompt: NONE, generation: NONE };
    for (let run = 0; run < RUNS; run++) {
      await withSequence(model, { capacity: 2 * TOKENS }, async (sequence) => {
        const prompt = await measured(() => sequence.extend(ids));
        const generation = await measured(async () => {
          for (const id of ids) await sequence.extend([(id * 5 + run) % VOCABULARY]);
        });
        if (prompt.rate > best.prompt.rate) best.prompt = prompt;
        if (generation.rate > best.generation.rate) best.generation = generation;
      });
    }
    const { prompt, generation } = best;
    const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
    console.log(
      `| ${percent(part)} | ${prompt.rate.toFixed(0)} | ${percent(prompt.share)} | ${generation.rate.toFixed(1)} | ${percent(generation.share)} | ${(generation.bytes / 1e6).toFixed(1)} MB | ${generation.cpu.toFixed(1)} |`,
    );
    await model.close();
  }
}

// A folder that cannot be asked ahead.
function plain(): Folder {
  const open = async (name: string) => {
    const { prefetch: _, ...source } = await folder.open(name);
    return source;
  };
  return { ...folder, open };
}

async function compareCold(): Promise<void> {
  const files = readdirSync(path).filter((name) => name.endsWith('.safetensors'));
  const drop = () => {
    for (const name of files) {
      execFileSync('dd', [`if=${join(path, name)}`, 'iflag=nocache', 'count=0', 'status=none']);
    }
  };
  const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
  console.log(
    '| experts in memory | as they come, ms a token | asked ahead | ratio | of experts read asked ahead | guesses that came true | bytes in vain |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const part of [0.6, 0.3]) {
    const memory = Math.floor(bytes - (1 - part) * experts.bytes);
    const open = async (from: Folder) =>
      loadLanguage(from, { ...options, memory, ...(count > 1 && { threads: await startThreads(count) }) });
    const models = [await open(plain()), await open(folder)];
    const sequences = await Promise.all(models.map((model) => model.open({ capacity: TOKENS })));
    const times: number[][] = [[], []];
    for (const id of ids) {
      for (const [i, sequence] of sequences.entries()) {
        drop();
        const began = performance.now();
        await sequence.extend([id]);
        times[i].push(performance.now() - began);
      }
    }
    const [before, after] = times.map(median);
    const { misses, prefetch } = models[1].paging!;
    const percent = (some: number, all: number) => `${((100 * some) / all).toFixed(0)} %`;
    const guesses = percent(prefetch.foreseen, prefetch.foreseen + prefetch.mistaken);
    const wasted = (prefetch.bytesWasted / 1e6 / TOKENS).toFixed(1);
    console.log(
      `| ${100 * part} % | ${before.toFixed(1)} | ${after.toFixed(1)} | ${(before / after).toFixed(2)} | ${percent(prefetch.hits, misses)} | ${guesses} | ${wasted} MB a token |`,
    );
    for (const model of models) await model.close();
  }
}
