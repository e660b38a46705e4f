"""Makes goldens.json: chat templates of our own, each with the Jinja that a published family's has, and what Jinja2 renders.

The environment is that of transformers: blocks trimmed, loop controls, {% generation %}, its tojson.
Run: python tests/chat-templates/make.py, with transformers 5.
"""

import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the sky does, “now”.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A town"},
                "unit": {"type": ["string", "null"], "enum": ["°C", "°F"], "default": "°C"},
                "days": {"type": "array", "items": {"type": "integer"}},
                "exact": {"type": "boolean", "default": False},
            },
            "required": ["place"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call00001", "type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": [1, 2], "exact": True, "limit": None}}}
SYSTEM = {"role": "system", "content": "Be brief. <&>"}
PLAIN = [{"role": "user", "content": " Hi there "}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "你好 😀?"}]
THOUGHT = [
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "<think>\nEasy: two and two.\n</think>\n\n4"},
    {"role": "user", "content": "And 3?"},
    {"role": "assistant", "reasoning_content": "Add.", "thinking": "Add.", "content": "5"},
    {"role": "user", "content": "Bye"},
]
TOOLS = [
    SYSTEM,
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "reasoning_content": "Look it up.", "tool_calls": [CALL, CALL]},
    {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "rain"},
    {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "[1, 2]"},
    {"role": "assistant", "content": "Rain."},
    {"role": "user", "content": [{"type": "text", "text": " Thanks "}, {"type": "image"}, {"type": "text", "text": "!"}]},
]
CONVERSATIONS = {
    "plain": {"messages": PLAIN},
    "system": {"messages": [SYSTEM, *PLAIN]},
    "closed": {"messages": PLAIN[:2], "add_generation_prompt": False},
    "thought": {"messages": THOUGHT},
    "no thinking": {"messages": THOUGHT, "enable_thinking": False, "reasoning_effort": "low", "documents": [{"title": "T", "text": "D"}]},
    "tools": {"messages": TOOLS, "tools": [WEATHER, CLOCK]},
    "two of one role": {"messages": [PLAIN[0], PLAIN[0]]},
}

TEXT = r"""
{%- macro text_of(content, trimmed=false) -%}
    {%- if content is string -%}{{ content|trim if trimmed else content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for part in content -%}
            {%- if part.type == 'text' or 'text' in part -%}{{ part['text'] | trim if trimmed else part.text }}{%- elif part is mapping and part.type != 'text' -%}<img>{%- endif -%}
        {%- endfor -%}
    {%- elif content is none or content is undefined -%}{{- '' -}}
    {%- else -%}{{ raise_exception('Unexpected content type.') }}{%- endif -%}
{%- endmacro -%}
"""

TEMPLATES = {
    "Qwen 3": TEXT
    + r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- "# Tools\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- set content = text_of(message.content) %}
    {%- if ns.multi_step and message.role == "user" and not(content.startswith('<tool_response>') and content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = text_of(message.content) %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
            {%- if call.function %}{%- set call = call.function %}{%- endif %}
            {{- '<tool_call>\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' ~ content ~ '\n</tool_response>' }}
        {%- if loop.last or (loop.nextitem.role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}""",
    "Qwen 3.5, Coder": TEXT
    + r"""
{%- macro extra(dict, known) %}
    {%- if dict is mapping %}
        {%- for key in dict if key not in known %}
            {%- if dict[key] is mapping or (dict[key] is sequence and dict[key] is not string) %}
                {{- '\n<' ~ key ~ '>' ~ (dict[key] | tojson | safe) ~ '</' ~ key ~ '>' }}
            {%- else %}
                {{- '\n<' ~ key ~ '>' ~ (dict[key] | string) ~ '</' ~ key ~ '>' }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}
{%- if not messages %}{{- raise_exception('No messages provided.') }}{%- endif %}
{%- if tools and tools is iterable and tools is not mapping %}
    {%- for tool in tools %}
        {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
        {{- "\n<function>\n<name>" ~ tool.name ~ "</name>" }}
        {%- if tool.description is defined %}{{- '\n<description>' ~ (tool.description | trim) ~ '</description>' }}{%- endif %}
        {%- if tool.parameters is defined and tool.parameters is mapping and tool.parameters.properties is defined %}
            {%- for name, fields in tool.parameters.properties|items %}
                {{- '\n<parameter=' ~ name ~ '>' }}{{- extra(fields, ['description']) }}{{- '\n</parameter>' }}
            {%- endfor %}
            {{- extra(tool.parameters, known=['type', 'properties']) }}
        {%- endif %}
        {{- "\n</function>" }}
    {%- endfor %}
{%- endif %}
{%- for message in messages %}
    {%- if message.tool_calls is defined and message.tool_calls is iterable and message.tool_calls | length > 0 %}
        {%- for call in message.tool_calls %}
            {{- '\n<function=' + call.function.name + '>\n' }}
            {%- for name, value in call.function.arguments.items() %}
                {{- '<parameter=' + name + '>\n' }}
                {%- set value = value | tojson | safe if value is mapping or (value is sequence and value is not string) else value | string %}
                {{- value }}{{- '\n</parameter>\n' }}
            {%- endfor %}
        {%- endfor %}
    {%- else %}
        {{- loop.index ~ '/' ~ loop.length ~ '/' ~ loop.revindex ~ ' ' ~ message.role ~ ': ' ~ text_of(message.content, trimmed=true) ~ '\n' }}
        {%- if loop.previtem is defined and loop.previtem and loop.previtem.role == message.role %}{{- 'again\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}""",
    "gpt-oss": TEXT
    + r"""
{#- A type of TypeScript for a schema. -#}
{%- macro type_of(spec, required, nullable=false) -%}
    {%- if spec.type == "array" -%}
        {%- if spec['items'] -%}{{- type_of(spec['items'], required) + "[]" }}{%- else -%}any[]{%- endif -%}
        {%- if nullable or spec.nullable -%}{{- " | null" }}{%- endif -%}
    {%- elif spec.type is defined and spec.type is iterable and spec.type is not string and spec.type is not mapping and spec.type[0] is defined -%}
        {%- if spec.type | length > 1 -%}{{- spec.type | join(" | ") }}{%- else -%}{{- spec.type[0] }}{%- endif -%}
    {%- elif spec.oneOf -%}{{- 'one' -}}
    {%- elif spec.type == "string" -%}
        {%- if spec.enum -%}{{- '"' + spec.enum|join('" | "') + '"' -}}{%- else -%}{{- "string" }}{%- endif -%}
    {%- elif spec.type in ["number", "integer"] -%}{{- "number" }}
    {%- elif spec.type == "object" and spec.properties -%}
        {{- "{\n" }}
        {%- for name, each in spec.properties.items() -%}
            {{- name -}}
            {%- if name not in (spec.required or []) -%}{{- "?" }}{%- endif -%}
            {{- ": " }}{{ type_of(each, spec.required or []) }}{%- if not loop.last -%}{{- ", " }}{%- endif -%}
            {%- if each.default is defined -%}{{- " // default: " + each.default|tojson }}{%- endif -%}
        {%- endfor -%}
        {{- "}" }}
    {%- else -%}{{- "any" }}{%- endif -%}
{%- endmacro -%}
{%- if reasoning_effort is not defined %}{%- set reasoning_effort = "medium" %}{%- endif %}
{{- "<|start|>system<|message|>Current date: " + strftime_now("%Y-%m-%d") + "\nReasoning: " + reasoning_effort + "\n<|end|>" }}
{%- if messages[0].role == "developer" or messages[0].role == "system" %}
    {%- set developer = messages[0].content %}{%- set rest = messages[1:] %}
{%- else %}{%- set developer = "" %}{%- set rest = messages %}{%- endif %}
{%- if developer or tools %}
    {{- "<|start|>developer<|message|>" + developer }}
    {%- for tool in tools or [] %}
        {%- set tool = tool.function %}
        {{- "\n// " + (tool.description | default("none")) + "\ntype " + tool.name + " = " }}{{- type_of(tool.parameters, []) }}
    {%- endfor %}
    {{- "<|end|>" }}
{%- endif %}
{%- set last_call = namespace(name=none) %}
{%- for message in rest -%}
    {%- if message.role == 'assistant' -%}
        {%- if "tool_calls" in message %}
            {%- set future = namespace(found=false) %}
            {%- for later in rest[loop.index:] %}
                {%- if later.role == 'assistant' and "tool_calls" not in later %}{%- set future.found = true %}{%- break %}{%- endif %}
            {%- endfor %}
            {%- if message.reasoning_content and not future.found %}{{- "<|start|>assistant<|channel|>analysis<|message|>" + message.reasoning_content + "<|end|>" }}{%- endif %}
            {%- set call = message.tool_calls[0].function %}
            {{- "<|start|>assistant to=functions." + call.name + "<|channel|>commentary json<|message|>" + call.arguments|tojson + "<|call|>" }}
            {%- set last_call.name = call.name %}
        {%- elif loop.last and not add_generation_prompt %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|return|>" }}
        {%- else %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
        {%- endif %}
    {%- elif message.role == 'tool' -%}
        {%- if last_call.name is none %}{{- raise_exception("Message has tool role, but there was no previous assistant message with a tool call!") }}{%- endif %}
        {{- "<|start|>functions." + last_call.name + " to=assistant<|channel|>commentary<|message|>" + message.content|tojson + "<|end|>" }}
    {%- elif message.role == 'user' -%}
        {{- "<|start|>user<|message|>" }}{{- text_of(message.content) + "<|end|>" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}""",
    "Gemma": r"""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}{%- set first = messages[0]['content'] + '\n\n' -%}
    {%- else -%}{%- set first = messages[0]['content'][0]['text'] + '\n\n' -%}{%- endif -%}
    {%- set rest = messages[1:] -%}
{%- else -%}{%- set first = "" -%}{%- set rest = messages -%}{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first if loop.first else "") }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}""",
    "Gemma 4": r"""
{%- macro parameters(properties, required) -%}
    {%- set ns = namespace(found=false) -%}
    {%- for key, value in properties | dictsort -%}
        {%- if ns.found %},{% endif -%}{%- set ns.found = true -%}
        {{ key }}:{ {%- if value['description'] -%}description:<|"|>{{ value['description'] }}<|"|>,{%- endif -%}
        {%- if value['type'] is string -%}type:<|"|>{{ value['type'] | upper }}<|"|>{%- endif -%}
        {%- if key in required -%},required{%- endif -%} }
    {%- endfor -%}
{%- endmacro -%}
{%- macro argument(value, quote=True) -%}
    {%- if value is string -%}{{- '"' + value + '"' if quote else value -}}
    {%- elif value is boolean -%}{{- 'true' if value else 'false' -}}
    {%- elif value is mapping -%}{ {%- for k, v in value | dictsort -%}{{ k }}:{{ argument(v, quote) }}{%- if not loop.last -%},{%- endif -%}{%- endfor -%} }
    {%- elif value is sequence -%}[{%- for v in value -%}{{ argument(v, quote=quote) }}{%- if not loop.last -%},{%- endif -%}{%- endfor -%}]
    {%- elif value is none -%}null{%- else -%}{{ value }}{%- endif -%}
{%- endmacro -%}
{%- macro without_thoughts(text) -%}
    {%- set ns = namespace(result='') -%}
    {%- for part in text.split('</think>') -%}
        {%- if '<think>' in part -%}{%- set ns.result = ns.result + part.split('<think>')[0] -%}
        {%- else -%}{%- set ns.result = ns.result + part -%}{%- endif -%}
    {%- endfor -%}
    {{- ns.result | trim -}}
{%- endmacro -%}
{{- bos_token -}}
{%- set loop_messages = messages -%}
{%- if (enable_thinking is defined and enable_thinking) or tools or messages[0]['role'] in ['system', 'developer'] -%}
    {{- '<|turn>system\n' -}}
    {%- if messages[0]['role'] in ['system', 'developer'] -%}{{- messages[0]['content'] | trim -}}{%- set loop_messages = messages[1:] -%}{%- endif -%}
    {%- for tool in tools or [] %}{{- '<|tool>' -}}{{ tool.function.name }}({{ parameters(tool['function']['parameters']['properties'], tool['function']['parameters'].get('required', [])) }}){{- '<tool|>' -}}{%- endfor %}
    {{- '<turn|>\n' -}}
{%- endif %}
{%- for message in loop_messages -%}
    {%- if message['role'] == 'tool' -%}{%- continue -%}{%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{- '<|turn>' + role + '\n' }}
    {%- if message.get('tool_calls') -%}
        {%- for call in message['tool_calls'] -%}{{- '<|tool_call>call:' + call.function.name }}{{ argument(call.function.arguments, quote=false) }}{{- '<tool_call|>' -}}{%- endfor -%}
    {%- endif -%}
    {%- if message['content'] is string -%}{{- without_thoughts(message['content']) if role == 'model' else message['content'] | trim -}}
    {%- elif message['content'] is sequence -%}
        {%- for item in message['content'] | selectattr('type', 'equalto', 'text') -%}{{- item['text'] | trim -}}{%- endfor -%}
    {%- endif -%}
    {{- '<turn|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|turn>model\n' -}}{%- endif -%}""",
    "DeepSeek": r"""{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=true, is_tool=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{ '<｜User｜>' }}{{ message['content'] if message['content'] is string else '' }}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if loop.first %}{{ '<｜Assistant｜>' + '<｜call｜>' + tool['type'] + '<｜sep｜>' + tool['function']['name'] + '\n' + '```json' + '\n' + (tool['function']['arguments'] | tojson) + '\n' + '```' }}{%- else %}{{ '\n' + tool['function']['name'] }}{%- endif %}{%- endfor %}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none and 'tool_calls' not in message %}{%- if ns.is_tool %}{{ '<｜outputs end｜>' + message['content'] + eos_token }}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<｜Assistant｜>' + content + eos_token }}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{{ '<｜output｜>' + message['content'] }}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{ '<｜Assistant｜><think>\n' }}{% endif %}""",
    "GLM, LFM2": TEXT
    + r"""[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools
{% for tool in tools %}
{{ tool | tojson(ensure_ascii=False) }}
{% endfor %}{{ tools | map(attribute='function.name') | join(', ') }}
{{ (tools | map(attribute='function') | selectattr('description') | list | length) ~ ' described' }}
{%- endif -%}
{%- set ns = namespace(last_user=-1, list='') -%}
{%- for m in messages -%}{%- if m.role == 'user' %}{% set ns.last_user = loop.index0 -%}{%- endif %}{%- endfor %}
{%- set ns.list = ns.list + ("\n" if ns.list else "") + "list [" -%}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ text_of(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not text_of(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set reasoning_content = '' %}
{%- set content = text_of(m.content) %}
{%- if m.reasoning_content is string %}{%- set reasoning_content = m.reasoning_content %}
{%- elif '</think>' in content %}
{%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\n') %}
{%- endif %}
{%- if loop.index0 > ns.last_user and reasoning_content -%}
{{ '\n<think>' + reasoning_content.strip() + '</think>' }}
{%- else -%}
{{ '\n<think></think>' }}
{%- endif -%}
{%- if content.strip() -%}{{ '\n' + content.strip() }}{%- endif -%}
{% for tc in m.tool_calls %}
{{ '\n<tool_call>' + tc.function.name }}
{% set args = tc.function.arguments %}
{% for k, v in args.items() %}
<arg_key>{{ k }}</arg_key>
<arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>
{% endfor %}
</tool_call>{% endfor %}
{%- elif m.role == 'system' -%}
<|system|>
{{ text_of(m.content) }}
{%- endif -%}
{%- endfor -%}
{{ ns.list }}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}""",
    "SmolLM3, Granite": r"""{%- set date = strftime_now("%d %B %Y") -%}
{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}
{%- set mode = "/think" if enable_thinking else "/no_think" -%}
{%- if messages[0].role == "system" -%}
  {%- set system_message = messages[0].content -%}
  {%- if "/no_think" in system_message -%}{%- set mode = "/no_think" -%}{%- endif -%}
  {%- set custom = system_message.replace("/no_think", "").replace("brief", "short", 1).rstrip() -%}
{%- endif -%}
{%- set documents = documents | default([], true) -%}
{{ "<|im_start|>system\n" }}Date: {{ date }} {{ strftime_now('%B %d, %Y') }}
{% if custom %}
{{ custom }}

{% endif %}
{%- set described -%}
Documents:{% for each in documents %} {{ each['title'] | title }}: {{ each.text | lower | capitalize }}{% endfor %}
{%- endset -%}
{{ described if documents else mode }}
{%- for tool in tools or [] %}
{{ '\n' ~ loop.index }}. {{ tool.function | tojson(indent=4) }}
{{ tool['function']['name'] | string | length }} {{ tool.function.parameters.properties | list | sort | join(',') }}
{%- endfor %}
{{ "<|im_end|>\n" }}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}{{ "<|im_start|>" + message.role + "\n" + content + "<|im_end|>\n" }}
    {%- elif message.role == "assistant" -%}
        {% generation %}
        {%- if mode == "/think" -%}{{ "<|im_start|>assistant\n" + content.lstrip("\n") + "<|im_end|>\n" }}
        {%- else -%}{{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" + content.lstrip("\n") + "<|im_end|>\n" }}{%- endif -%}
        {% endgeneration %}
    {%- elif message.role == "tool" -%}{{ "<|im_start|>" + "user\n"  + message.content + "<|im_end|>\n" }}{%- endif -%}
{%- endfor -%}
{% if add_generation_prompt -%}{%- if mode == "/think" -%}{{ "<|im_start|>assistant\n" }}{%- else -%}{{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" }}{%- endif -%}{%- endif -%}""",
    "Ministral, Mixtral": r"""{%- set default_system_message = 'You are a model.' %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {{- '[SYSTEM_PROMPT]' + messages[0]['content'] + '[/SYSTEM_PROMPT]' }}{%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}{%- if default_system_message != '' %}{{- '[SYSTEM_PROMPT]' + default_system_message + '[/SYSTEM_PROMPT]' }}{%- endif %}
{%- endif %}
{%- set tools_definition = '' %}
{%- if tools is defined and tools is not none and tools|length > 0 %}
    {%- set tools_definition = '[AVAILABLE_TOOLS]' + (tools| tojson) + '[/AVAILABLE_TOOLS]' %}
{%- elif not tools is none %}{{- 'tools must be none' }}{%- endif %}
{{- tools_definition }}
{%- set users = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if message.role == 'user' or (message.role == 'assistant' and (message.tool_calls is not defined or message.tool_calls is none or message.tool_calls | length == 0)) %}
        {%- if (message['role'] == 'user') != (ns.index % 2 == 0) %}
            {{- raise_exception('After the optional system message, roles must alternate, got ' + message['role']) }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {{- '[' ~ users.index(message) ~ ']' if false else '' }}
        {%- if message['content'] is string %}{{- '[INST]' + message['content'] + '[/INST]' }}
        {%- elif message['content'] | length > 0 %}
            {{- '[INST]' }}
            {%- for block in message['content'] | sort(attribute='type') if block['type'] in ['text', 'image'] %}{{- block['text'] if block['type'] == 'text' else '[IMG]' }}{%- endfor %}
            {{- '[/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {%- if (message['content'] is none or message['content'] == '' or message['content']|length == 0) and (message['tool_calls'] is not defined or message['tool_calls'] is none) %}{{- raise_exception('Assistant message must have content or calls') }}{%- endif %}
        {%- if message['content'] is string and message['content'] != '' %}{{- message['content'] }}{%- endif %}
        {%- for call in message['tool_calls'] if call.id %}
            {%- set arguments = call['function']['arguments'] %}
            {%- if arguments is not string %}{%- set arguments = arguments|tojson|safe %}{%- elif arguments == '' %}{%- set arguments = '{}' %}{%- endif %}
            {%- if call.id|length != 9 %}{{- raise_exception("Tool call IDs should be 9 characters") }}{%- endif %}
            {{- '[TOOL_CALLS]' + call['function']['name'] + '[ARGS]' + arguments }}
            {%- for key, val in call.items() if key != "function" and val %}{{- ' ' ~ key ~ '=' ~ val }}{%- endfor %}
        {%- else %}{{- ' no calls' }}
        {%- endfor %}
        {{- eos_token }}
    {%- elif message['role'] == 'tool' %}
        {{- '[TOOL_RESULTS]' + message['content']|string + '[/TOOL_RESULTS]' }}
    {%- else %}{{- raise_exception('Only user, assistant and tool roles are supported, got ' + message['role'] + '.') }}{%- endif %}
{%- endfor %}""",
    "OLMo, HunYuan, Phi": r"""{%- set ns = namespace(found=false) -%}
{{- bos_token if bos_token is defined else '' -}}
{%- for message in messages -%}
    {%- if message.get('functions', none) is not none -%}{{ message['functions'] }}{%- endif -%}
    {%- if message['role'] == 'system' -%}{%- set ns.found = true -%}{%- endif -%}
{%- endfor -%}
{%- if not ns.found -%}{{ '<|system|>none\n' }}{%- endif -%}
{%- set effort = {'low': 1, 'medium': 2}.get(reasoning_effort | default('none'), 2) -%}
{%- set modes = {'a': 1, 'b': 'x'} -%}
{{ effort }} {{ modes.b ~ modes['a'] }} {{ modes.keys() | list }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 2 * 3.5 }}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {%- set content = message['content'] -%}
        {%- if '<think>' in content and '</think>' in content -%}
            {%- set content = content[(content.find('</think>') + '</think>'|length):] -%}
        {%- endif -%}
        {{- '<|assistant|>' + content.split('\n', 1)[-1].strip() + (eos_token if not loop.last else '') -}}
    {%- elif message['content'] is string -%}
        {{- '<|' ~ message.role | replace('user', 'human') | upper ~ '|>' ~ message['content'].upper().lower().title() ~ '<|end|>' -}}
        {{- message.content[:3] }}|{{ message.content[-2:] }}|{{ message.content[0] }}|{{ message.content | first }}{{ message.content | last -}}
    {%- endif -%}
    {{- '' if loop.last else '\n' -}}
{%- endfor -%}
{%- call(x) wrap() %}{{ x }}{% endcall -%}
{%- if add_generation_prompt and (messages[-1]['role'] != 'assistant') -%}{{ '<|assistant|>\n' }}{%- endif -%}
{%- filter upper %}done{% endfilter -%}
{{ messages | map(attribute='role') | unique | list }} {{ messages | map(attribute='role') | join('/') }} {{ [3, 1] | sort }} {{ {'x': [true, none, 1.0, "é'"]} }} {{ 'x' in 'xyz' and 3 > 2 }} {{ true }} {{ none }} {{ missing }} {{ 'a' ~ true ~ none ~ 1.5 }} {{ false | string }} {{ none | string }} {{ missing | string | length }} {{ missing | length }} {{ missing | trim }} {{ missing | list }} {{ 'abc' | list }} {{ '  a b '.strip() ~ '--a-'.strip('-') ~ ' \n a\n'.lstrip('\n') ~ 'xyx'.rstrip('x') }} {{ 'a,b'.split(',') | last }} {{ ', '.join(['a', 'b']) }} {{ 'aXbX'.count('X') ~ 'abc'.find('z') ~ 'HELLO'.capitalize() }} {{ 'pre-fix'.removeprefix('pre-').removesuffix('x') }} {{ 'a\nb'.splitlines() | join('+') }} {{ [1, none, 'a', [true, 1.0], {'k': "it's", 'l': 'a\\n\\\\"'}] }} {{ tools }} {{ ['é'] | string }} {{ 'x' ~ ['y'] }} {{ '12'.isdigit() }}""",
}
TEMPLATES["OLMo, HunYuan, Phi"] = "{%- macro wrap() %}[{{ caller('w') }}]{% endmacro -%}" + TEMPLATES["OLMo, HunYuan, Phi"]


def main():
    found = {}
    now = "2026-02-03"
    import datetime
    import transformers.utils.chat_template_utils as utils

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 2, 3, 4, 5, 6)

    utils.datetime = Fixed
    for name, template in TEMPLATES.items():
        compiled = _compile_jinja_template(template)
        found[name] = {"template": template, "rendered": {}}
        for each, values in CONVERSATIONS.items():
            given = {"tools": None, "documents": None, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", **values}
            try:
                found[name]["rendered"][each] = compiled.render(**given)
            except Exception as error:
                found[name]["rendered"][each] = {"error": str(error)}
    path = pathlib.Path(__file__).parent / "goldens.json"
    path.write_text(json.dumps({"conversations": CONVERSATIONS, "templates": found}, ensure_ascii=True, indent=0) + "\n")


main()
