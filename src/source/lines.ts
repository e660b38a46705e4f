// Files that grow by lines while a run goes on, and that a crash or a fault may damage anywhere. A line is JSON, sealed:
//
//   7b1c02aa {"checksums":[…]}⏎      eight hexadecimal digits, CRC-32 of all JSON up to here, this line's included
//
// A line holds if its seal and those before it hold. So no line can change, vanish or change places without notice.

/** A line that holds. */
export interface SealedLine {
  /** What the line holds. */
  readonly value: unknown;
  /** What its seal says: the next line's seal goes on from it. */
  readonly seal: number;
  /** Bytes up to its end. */
  readonly end: number;
}

const SEAL_BYTES = 8;
const [SPACE, NEWLINE] = [0x20, 0x0a];

/**
 * Makes a line.
 * @param before the seal of the line before; 0 for the first
 * @returns its bytes, and its seal
 */
export function sealLine(value: unknown, before = 0): { bytes: Uint8Array<ArrayBuffer>; seal: number } {
  const json = new TextEncoder().encode(JSON.stringify(value));
  const seal = crc32(before, json);
  const bytes = new Uint8Array(SEAL_BYTES + json.length + 2);
  bytes.set(new TextEncoder().encode(`${hex(seal)} `));
  bytes.set(json, SEAL_BYTES + 1);
  bytes[bytes.length - 1] = NEWLINE;
  return { bytes, seal };
}

/** The lines that hold, up to the first that does not or is cut short. */
export function readSealed(bytes: Uint8Array): SealedLine[] {
  const lines: SealedLine[] = [];
  for (let [start, seal] = [0, 0]; ; ) {
    const end = bytes.indexOf(NEWLINE, start);
    if (end < start + SEAL_BYTES + 1 || bytes[start + SEAL_BYTES] !== SPACE) return lines;
    const json = bytes.subarray(start + SEAL_BYTES + 1, end);
    seal = crc32(seal, json);
    const decoder = new TextDecoder();
    if (decoder.decode(bytes.subarray(start, start + SEAL_BYTES)) !== hex(seal)) return lines;
    try {
      lines.push({ value: JSON.parse(decoder.decode(json)), seal, end: end + 1 });
    } catch {
      return lines; // sealed, but by somebody else
    }
    start = end + 1;
  }
}

function hex(seal: number): string {
  return seal.toString(16).padStart(SEAL_BYTES, '0');
}

// CRC-32 of the IEEE, reflected polynomial 0xedb88320, a bit at a time: crc32(0, "123456789") = 0xcbf43926. The kernels have a fast one;
// lines are short, and are read where no kernels are.
function crc32(before: number, bytes: Uint8Array): number {
  let crc = ~before;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
