// Bits as colours: few are warm, many are cool. Lightness falls along, so that the order survives without hues.

import { scaleLinear } from 'd3-scale';

const scale = scaleLinear<string>()
  .domain([2, 3, 4, 5, 6, 8])
  .range(['#f2b84b', '#e8935a', '#cf6d75', '#a9588f', '#7656a0', '#41509c'])
  .clamp(true);

export const colourOf = (bits: number): string => scale(bits);
