// The checkpoints here, as make.py made them: it writes this list.

import arceeConfig from './arcee/config.json';
import arceeLogits from './arcee/logits.safetensors';
import arceeModel from './arcee/model.safetensors';
import deepseek_v2Config from './deepseek_v2/config.json';
import deepseek_v2Logits from './deepseek_v2/logits.safetensors';
import deepseek_v2Model from './deepseek_v2/model.safetensors';
import deepseek_v3Config from './deepseek_v3/config.json';
import deepseek_v3Logits from './deepseek_v3/logits.safetensors';
import deepseek_v3Model from './deepseek_v3/model.safetensors';
import dots1Config from './dots1/config.json';
import dots1Logits from './dots1/logits.safetensors';
import dots1Model from './dots1/model.safetensors';
import ernie4_5Config from './ernie4_5/config.json';
import ernie4_5Logits from './ernie4_5/logits.safetensors';
import ernie4_5Model from './ernie4_5/model.safetensors';
import ernie4_5_moeConfig from './ernie4_5_moe/config.json';
import ernie4_5_moeLogits from './ernie4_5_moe/logits.safetensors';
import ernie4_5_moeModel from './ernie4_5_moe/model.safetensors';
import exaone4Config from './exaone4/config.json';
import exaone4Logits from './exaone4/logits.safetensors';
import exaone4Model from './exaone4/model.safetensors';
import gemma2Config from './gemma2/config.json';
import gemma2Logits from './gemma2/logits.safetensors';
import gemma2Model from './gemma2/model.safetensors';
import gemma3Config from './gemma3/config.json';
import gemma3Logits from './gemma3/logits.safetensors';
import gemma3Model from './gemma3/model.safetensors';
import gemma3_textConfig from './gemma3_text/config.json';
import gemma3_textLogits from './gemma3_text/logits.safetensors';
import gemma3_textModel from './gemma3_text/model.safetensors';
import gemma4_expertsConfig from './gemma4_experts/config.json';
import gemma4_expertsLogits from './gemma4_experts/logits.safetensors';
import gemma4_expertsModel from './gemma4_experts/model.safetensors';
import gemma4_textConfig from './gemma4_text/config.json';
import gemma4_textLogits from './gemma4_text/logits.safetensors';
import gemma4_textModel from './gemma4_text/model.safetensors';
import glmConfig from './glm/config.json';
import glmLogits from './glm/logits.safetensors';
import glmModel from './glm/model.safetensors';
import glm4Config from './glm4/config.json';
import glm4Logits from './glm4/logits.safetensors';
import glm4Model from './glm4/model.safetensors';
import glm4_moeConfig from './glm4_moe/config.json';
import glm4_moeLogits from './glm4_moe/logits.safetensors';
import glm4_moeModel from './glm4_moe/model.safetensors';
import glm4_moe_liteConfig from './glm4_moe_lite/config.json';
import glm4_moe_liteLogits from './glm4_moe_lite/logits.safetensors';
import glm4_moe_liteModel from './glm4_moe_lite/model.safetensors';
import gpt_ossConfig from './gpt_oss/config.json';
import gpt_ossLogits from './gpt_oss/logits.safetensors';
import gpt_ossModel from './gpt_oss/model.safetensors';
import graniteConfig from './granite/config.json';
import graniteLogits from './granite/logits.safetensors';
import graniteModel from './granite/model.safetensors';
import hunyuan_v1_denseConfig from './hunyuan_v1_dense/config.json';
import hunyuan_v1_denseLogits from './hunyuan_v1_dense/logits.safetensors';
import hunyuan_v1_denseModel from './hunyuan_v1_dense/model.safetensors';
import lfm2Config from './lfm2/config.json';
import lfm2Logits from './lfm2/logits.safetensors';
import lfm2Model from './lfm2/model.safetensors';
import lfm2_moeConfig from './lfm2_moe/config.json';
import lfm2_moeLogits from './lfm2_moe/logits.safetensors';
import lfm2_moeModel from './lfm2_moe/model.safetensors';
import llamaConfig from './llama/config.json';
import llamaLogits from './llama/logits.safetensors';
import llamaModel from './llama/model.safetensors';
import ministral3Config from './ministral3/config.json';
import ministral3Logits from './ministral3/logits.safetensors';
import ministral3Model from './ministral3/model.safetensors';
import mistralConfig from './mistral/config.json';
import mistralLogits from './mistral/logits.safetensors';
import mistralModel from './mistral/model.safetensors';
import mistral3Config from './mistral3/config.json';
import mistral3Logits from './mistral3/logits.safetensors';
import mistral3Model from './mistral3/model.safetensors';
import mixtralConfig from './mixtral/config.json';
import mixtralLogits from './mixtral/logits.safetensors';
import mixtralModel from './mixtral/model.safetensors';
import olmo2Config from './olmo2/config.json';
import olmo2Logits from './olmo2/logits.safetensors';
import olmo2Model from './olmo2/model.safetensors';
import olmo3Config from './olmo3/config.json';
import olmo3Logits from './olmo3/logits.safetensors';
import olmo3Model from './olmo3/model.safetensors';
import olmoeConfig from './olmoe/config.json';
import olmoeLogits from './olmoe/logits.safetensors';
import olmoeModel from './olmoe/model.safetensors';
import phi3Config from './phi3/config.json';
import phi3Logits from './phi3/logits.safetensors';
import phi3Model from './phi3/model.safetensors';
import qwen2Config from './qwen2/config.json';
import qwen2Logits from './qwen2/logits.safetensors';
import qwen2Model from './qwen2/model.safetensors';
import qwen2_moeConfig from './qwen2_moe/config.json';
import qwen2_moeLogits from './qwen2_moe/logits.safetensors';
import qwen2_moeModel from './qwen2_moe/model.safetensors';
import qwen3Config from './qwen3/config.json';
import qwen3Logits from './qwen3/logits.safetensors';
import qwen3Model from './qwen3/model.safetensors';
import qwen3_5Config from './qwen3_5/config.json';
import qwen3_5Logits from './qwen3_5/logits.safetensors';
import qwen3_5Model from './qwen3_5/model.safetensors';
import qwen3_5_moeConfig from './qwen3_5_moe/config.json';
import qwen3_5_moeLogits from './qwen3_5_moe/logits.safetensors';
import qwen3_5_moeModel from './qwen3_5_moe/model.safetensors';
import qwen3_5_textConfig from './qwen3_5_text/config.json';
import qwen3_5_textLogits from './qwen3_5_text/logits.safetensors';
import qwen3_5_textModel from './qwen3_5_text/model.safetensors';
import qwen3_moeConfig from './qwen3_moe/config.json';
import qwen3_moeLogits from './qwen3_moe/logits.safetensors';
import qwen3_moeModel from './qwen3_moe/model.safetensors';
import qwen3_nextConfig from './qwen3_next/config.json';
import qwen3_nextLogits from './qwen3_next/logits.safetensors';
import qwen3_nextModel from './qwen3_next/model.safetensors';
import qwen3_vlConfig from './qwen3_vl/config.json';
import qwen3_vlLogits from './qwen3_vl/logits.safetensors';
import qwen3_vlModel from './qwen3_vl/model.safetensors';
import seed_ossConfig from './seed_oss/config.json';
import seed_ossLogits from './seed_oss/logits.safetensors';
import seed_ossModel from './seed_oss/model.safetensors';
import smollm3Config from './smollm3/config.json';
import smollm3Logits from './smollm3/logits.safetensors';
import smollm3Model from './smollm3/model.safetensors';
import trained_gemma2Config from './trained_gemma2/config.json';
import trained_gemma2Logits from './trained_gemma2/logits.safetensors';
import trained_gemma2Model from './trained_gemma2/model.safetensors';
import trained_phi3Config from './trained_phi3/config.json';
import trained_phi3Logits from './trained_phi3/logits.safetensors';
import trained_phi3Model from './trained_phi3/model.safetensors';

interface Files {
  readonly config: object;
  readonly model: Uint8Array;
  readonly logits: Uint8Array;
}

/** By family: what config.json says, the file of the tensors, that of the logits. */
export const families: Readonly<Record<string, Files>> = {
  arcee: { config: arceeConfig, model: arceeModel, logits: arceeLogits },
  deepseek_v2: { config: deepseek_v2Config, model: deepseek_v2Model, logits: deepseek_v2Logits },
  deepseek_v3: { config: deepseek_v3Config, model: deepseek_v3Model, logits: deepseek_v3Logits },
  dots1: { config: dots1Config, model: dots1Model, logits: dots1Logits },
  ernie4_5: { config: ernie4_5Config, model: ernie4_5Model, logits: ernie4_5Logits },
  ernie4_5_moe: { config: ernie4_5_moeConfig, model: ernie4_5_moeModel, logits: ernie4_5_moeLogits },
  exaone4: { config: exaone4Config, model: exaone4Model, logits: exaone4Logits },
  gemma2: { config: gemma2Config, model: gemma2Model, logits: gemma2Logits },
  gemma3: { config: gemma3Config, model: gemma3Model, logits: gemma3Logits },
  gemma3_text: { config: gemma3_textConfig, model: gemma3_textModel, logits: gemma3_textLogits },
  gemma4_experts: { config: gemma4_expertsConfig, model: gemma4_expertsModel, logits: gemma4_expertsLogits },
  gemma4_text: { config: gemma4_textConfig, model: gemma4_textModel, logits: gemma4_textLogits },
  glm: { config: glmConfig, model: glmModel, logits: glmLogits },
  glm4: { config: glm4Config, model: glm4Model, logits: glm4Logits },
  glm4_moe: { config: glm4_moeConfig, model: glm4_moeModel, logits: glm4_moeLogits },
  glm4_moe_lite: { config: glm4_moe_liteConfig, model: glm4_moe_liteModel, logits: glm4_moe_liteLogits },
  gpt_oss: { config: gpt_ossConfig, model: gpt_ossModel, logits: gpt_ossLogits },
  granite: { config: graniteConfig, model: graniteModel, logits: graniteLogits },
  hunyuan_v1_dense: { config: hunyuan_v1_denseConfig, model: hunyuan_v1_denseModel, logits: hunyuan_v1_denseLogits },
  lfm2: { config: lfm2Config, model: lfm2Model, logits: lfm2Logits },
  lfm2_moe: { config: lfm2_moeConfig, model: lfm2_moeModel, logits: lfm2_moeLogits },
  llama: { config: llamaConfig, model: llamaModel, logits: llamaLogits },
  ministral3: { config: ministral3Config, model: ministral3Model, logits: ministral3Logits },
  mistral: { config: mistralConfig, model: mistralModel, logits: mistralLogits },
  mistral3: { config: mistral3Config, model: mistral3Model, logits: mistral3Logits },
  mixtral: { config: mixtralConfig, model: mixtralModel, logits: mixtralLogits },
  olmo2: { config: olmo2Config, model: olmo2Model, logits: olmo2Logits },
  olmo3: { config: olmo3Config, model: olmo3Model, logits: olmo3Logits },
  olmoe: { config: olmoeConfig, model: olmoeModel, logits: olmoeLogits },
  phi3: { config: phi3Config, model: phi3Model, logits: phi3Logits },
  qwen2: { config: qwen2Config, model: qwen2Model, logits: qwen2Logits },
  qwen2_moe: { config: qwen2_moeConfig, model: qwen2_moeModel, logits: qwen2_moeLogits },
  qwen3: { config: qwen3Config, model: qwen3Model, logits: qwen3Logits },
  qwen3_5: { config: qwen3_5Config, model: qwen3_5Model, logits: qwen3_5Logits },
  qwen3_5_moe: { config: qwen3_5_moeConfig, model: qwen3_5_moeModel, logits: qwen3_5_moeLogits },
  qwen3_5_text: { config: qwen3_5_textConfig, model: qwen3_5_textModel, logits: qwen3_5_textLogits },
  qwen3_moe: { config: qwen3_moeConfig, model: qwen3_moeModel, logits: qwen3_moeLogits },
  qwen3_next: { config: qwen3_nextConfig, model: qwen3_nextModel, logits: qwen3_nextLogits },
  qwen3_vl: { config: qwen3_vlConfig, model: qwen3_vlModel, logits: qwen3_vlLogits },
  seed_oss: { config: seed_ossConfig, model: seed_ossModel, logits: seed_ossLogits },
  smollm3: { config: smollm3Config, model: smollm3Model, logits: smollm3Logits },
  trained_gemma2: { config: trained_gemma2Config, model: trained_gemma2Model, logits: trained_gemma2Logits },
  trained_phi3: { config: trained_phi3Config, model: trained_phi3Model, logits: trained_phi3Logits },
};
