// All that is fuzzed, in the order in which it takes turns.

import { asked } from './asked.ts';
import { alphas, plan } from './budgets.ts';
import { flute } from './flute.ts';
import { gguf } from './gguf.ts';
import { header, index } from './headers.ts';
import { hub } from './hubs.ts';
import { config, family, model } from './models.ts';
import { packed } from './packed.ts';
import { parts } from './parts.ts';
import { quantized } from './quantized.ts';
import { request } from './requests.ts';
import { resumed } from './resumed.ts';
import { sensitivity } from './sensitivities.ts';
import { server } from './servers.ts';
import { stored } from './stored.ts';
import type { Target } from './target.ts';
import { template, tokenizer } from './texts.ts';

export const targets: readonly Target[] = [
  ...[header, index, quantized, stored, config, model, family, alphas, plan],
  ...[template, tokenizer, resumed, server, hub, request, asked, sensitivity, gguf, packed, flute, parts],
];
