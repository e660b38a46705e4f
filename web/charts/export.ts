// Charts as files: SVG that stands alone, and PNG at twice the size.

/** What style sheets say of an SVG, which a file must say itself. */
const STYLES = [
  'fill',
  'stroke',
  'stroke-width',
  'opacity',
  'font-family',
  'font-size',
  'stroke-opacity',
  'fill-opacity',
];

/** The file of a chart as it looks now. */
export function svgFile(chart: SVGElement): Blob {
  const copy = chart.cloneNode(true) as SVGElement;
  const pairs: [Element, Element][] = [[chart, copy]];
  for (const [from, to] of pairs) {
    const style = getComputedStyle(from);
    for (const name of STYLES) {
      const value = style.getPropertyValue(name);
      if (value && !(to.getAttribute(name) ?? '').startsWith('url(')) to.setAttribute(name, value);
    }
    for (const [i, child] of [...from.children].entries()) pairs.push([child, to.children[i]]);
  }
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: 'image/svg+xml' });
}

/** The same as pixels. */
export async function pngFile(chart: SVGSVGElement): Promise<Blob> {
  const { width, height } = chart.viewBox.baseVal;
  const image = new Image(width, height);
  const url = URL.createObjectURL(svgFile(chart));
  try {
    image.src = url;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: 2 * width, height: 2 * height });
    canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the chart could not be drawn')))),
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}
