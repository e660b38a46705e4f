// The worker's door: the engine as Comlink exposes it. Kernels are compiled when the first model is opened.

import { expose } from 'comlink';
import { startEngine } from './work.ts';

expose(startEngine());
