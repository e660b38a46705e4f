// Predicted against measured loss as SVG: a panel for each model, both axes logarithmic, a colour for each family of kinds.

/** A pair of losses. */
export interface Dot {
  /** Which panel, and which colour. */
  panel: string;
  colour: string;
  predicted: number;
  measured: number;
  /** Of the whole model, not of one matrix. */
  whole: boolean;
}

const [SIDE, GAP, LEFT, TOP, BOTTOM] = [300, 48, 56, 30, 84];
const COLOURS = ['#888', '#c2571a', '#2563a8', '#2d8a4e', '#8a4fae', '#c4a000', '#111'];
const STYLE =
  'text{font:11px system-ui,sans-serif;fill:#333}.grid{stroke:#e4e4e4}.line{stroke:#333}.dots{fill:none;stroke-width:3;stroke-linecap:round;opacity:.45}.whole{fill-opacity:.9;stroke:#fff}';

/** Draws the dots. Losses of 0 and below have no place; how many those are is written into the panel. */
export function scatterOf(dots: readonly Dot[], xTitle: string, yTitle: string): string {
  const panels = [...new Set(dots.map(({ panel }) => panel))];
  const colours = [...new Set(dots.map(({ colour }) => colour))];
  const width = Math.max(LEFT + panels.length * (SIDE + GAP), LEFT + colours.length * 64);
  const height = TOP + SIDE + BOTTOM;
  const parts = panels.flatMap((panel, i) => {
    const inPanel = dots.filter((dot) => dot.panel === panel);
    return [
      `<g transform="translate(${LEFT + i * (SIDE + GAP)} ${TOP})">`,
      ...panelOf(panel, inPanel, colours),
      '</g>',
    ];
  });
  const middle = TOP + SIDE / 2;
  parts.push(text(LEFT + SIDE / 2, TOP + SIDE + 34, xTitle, 'middle'));
  parts.push(`<text transform="translate(12 ${middle}) rotate(-90)" text-anchor="middle">${escaped(yTitle)}</text>`);
  for (const [i, colour] of colours.entries()) {
    const x = LEFT + i * 64;
    parts.push(`<circle cx="${x}" cy="${height - 32}" r="5" fill="${colourOf(i)}"/>`);
    parts.push(text(x + 9, height - 28, colour));
  }
  parts.push(text(LEFT, height - 8, 'large: the whole model; small: one matrix; line: measured = predicted'));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${escaped(`${yTitle} against ${xTitle}`)}</title>`,
    `<style>${STYLE}</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function panelOf(title: string, dots: readonly Dot[], colours: readonly string[]): string[] {
  const drawn = dots.filter(({ predicted, measured }) => predicted > 0 && measured > 0);
  const logs = drawn.flatMap(({ predicted, measured }) => [Math.log10(predicted), Math.log10(measured)]);
  const low = Math.floor(logs.reduce((least, log) => Math.min(least, log), 0));
  const high = Math.max(low + 1, Math.ceil(logs.reduce((most, log) => Math.max(most, log), low)));
  const along = (loss: number) => ((Math.log10(loss) - low) / (high - low)) * SIDE;
  const parts: string[] = [];
  for (let power = low; power <= high; power++) {
    const place = Math.round(along(10 ** power));
    parts.push(`<path class="grid" d="M${place} 0V${SIDE}M0 ${SIDE - place}H${SIDE}"/>`);
    const label = Math.abs(power) <= 2 ? String(Number(`1e${power}`)) : `1e${power}`;
    parts.push(text(place, SIDE + 15, label, 'middle'));
    parts.push(text(-5, SIDE - place + 4, label, 'end'));
  }
  parts.push(`<path class="line" d="M0 ${SIDE}L${SIDE} 0"/>`);
  const missing = dots.length - drawn.length;
  parts.push(text(0, -8, missing === 0 ? title : `${title} (${missing} of ${dots.length} not above 0)`));
  for (const [i, colour] of colours.entries()) {
    const ofColour = drawn.filter((dot) => dot.colour === colour);
    const places = ofColour.map(({ predicted, measured, whole }) => {
      return { x: Math.round(along(predicted)), y: Math.round(SIDE - along(measured)), whole };
    });
    // Lines of no length with round ends: the shortest text for a dot.
    const small = new Set(places.filter(({ whole }) => !whole).map(({ x, y }) => `M${x} ${y}h0`));
    if (small.size > 0) parts.push(`<path class="dots" stroke="${colourOf(i)}" d="${[...small].join('')}"/>`);
    for (const { x, y } of places.filter(({ whole }) => whole)) {
      parts.push(`<circle class="whole" cx="${x}" cy="${y}" r="5" fill="${colourOf(i)}"/>`);
    }
  }
  return parts;
}

function colourOf(i: number): string {
  return COLOURS[i % COLOURS.length];
}

function text(x: number, y: number, content: string, anchor = 'start'): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
