// Models that tests serve: random ones, small, with a tokenizer of bytes and a template of a conversation.

import { loadModel } from '../src/decoder.ts';
import type { Model } from '../src/text/textmodel.ts';
import { memoryFolder } from './checkpoints.ts';
import { configs, randomFile } from './models.ts';
import { byteLevelContent } from './tokenizers.ts';

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** A conversation without tools. */
export const PLAIN =
  '{% for m in messages %}<|begin|>{{ m.role }}: {{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** Tools as Hermes and Qwen have them. */
export const HERMES =
  '{% if tools %}<|begin|>tools: {% for t in tools %}{{ t | tojson }}{% endfor %}<|end|>{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {{ m.content }}{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** JSON alone, as Llama 3 has it. */
export const BARE =
  '{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {% if m.tool_calls %}{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** A list behind a mark, as Mistral has it. */
export const LIST =
  '{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {% if m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}{% endfor %}]{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** A name, a mark, the arguments, as later Mistrals have them. */
export const NAMED =
  '{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {% if m.tool_calls %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** Arguments between tags, as Qwen3-Coder has them. */
export const TAGGED =
  '{% if tools %}<|begin|>tools: {{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {{ m.content }}{% if m.tool_calls %}{% for c in m.tool_calls %}\n<tool_call>\n<function={{ c.function.name }}>\n{% for key, value in c.function.arguments | items %}<parameter={{ key }}>\n{{ value if value is string else value | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** Messages to functions, as gpt-oss has them. */
export const CHANNELS =
  '{% if tools %}<|start|>developer<|message|>{% for t in tools %}type {{ t.function.name }} = {{ t | tojson }}{% endfor %}<|end|>{% endif %}{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<|start|>assistant to=functions.{{ c.function.name }}<|channel|>commentary json<|message|>{{ c.function.arguments | tojson }}<|call|>{% endfor %}{% elif m.role == "assistant" %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}';

/** Names behind ids, as Solar has them. */
export const BEHIND_IDS =
  '{% if tools %}<|begin|>tools: {{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {% if m.tool_calls %}<|tool_calls|>{% for c in m.tool_calls %}<|tool_call:begin|>{{ c.id }}<|tool_call:name|>{{ c.function.name }}<|tool_call:args|>{{ c.function.arguments | tojson }}<|tool_call:end|>{% endfor %}{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** A list in a block of code, behind a plan, as Command R+ has it. */
export const BLOCK =
  '{% if tools %}<|begin|>tools: {{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}<|begin|>{{ m.role }}: {{ m.content }}{% if m.tool_calls %}\nAction:\n```json\n[{% for c in m.tool_calls %}\n    {"tool_name": "{{ c.function.name }}", "parameters": {{ c.function.arguments | tojson }}}{% if not loop.last %},{% endif %}{% endfor %}\n]\n```{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant: {% endif %}';

/** Files of a random model of this template, or of none. */
export function servedFiles({ template = PLAIN, context = 512, seed = 1 } = {}): Record<string, Uint8Array> {
  const config = configs.llama;
  return {
    'config.json': json({ ...config, eos_token_id: undefined, max_position_embeddings: context }),
    'model.safetensors': randomFile(config, ['F32'], seed),
    'tokenizer.json': json(byteLevelContent()),
    'tokenizer_config.json': json({ eos_token: '<|end|>', ...(template !== '' && { chat_template: template }) }),
  };
}

/** A random model of this template, or of none. */
export function servedModel({ template = PLAIN, context = 512, cacheTokens = 4096, seed = 1 } = {}): Promise<Model> {
  return loadModel(memoryFolder(servedFiles({ template, context, seed })), { context, cacheTokens });
}

/** The events of a stream. */
export async function eventsOf(response: Response): Promise<{ event?: string; data: string }[]> {
  const text = await response.text();
  return text
    .split('\n\n')
    .filter((block) => block !== '' && !block.startsWith(':'))
    .map((block) => {
      const lines = block.split('\n');
      const event = lines.find((line) => line.startsWith('event: '))?.slice(7);
      const data = lines.find((line) => line.startsWith('data: '))!.slice(6);
      return { ...(event !== undefined && { event }), data };
    });
}
