// What reads weights as other programs write them: a bundle of its own, which is there when a checkpoint asks for it.

export { openGguf } from './gguf/folder.ts';
export { unpacked } from './packed/packed.ts';
