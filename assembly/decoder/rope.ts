// Rotary positions: pairs (a, b) of a head become (a cos - b sin, b cos + a sin). Element i is paired with i + half, or, where
// weights are interleaved, element 2i with 2i + 1 (Su et al., arXiv 2104.09864).
//
//   halves        a0 a1 a2 a3 │ b0 b1 b2 b3        vectors of a, of b, of cosines and of sines meet lane by lane
//   interleaved   a0 b0 a1 b1 a2 b2 a3 b3          one pair at a time
//   table         cos 0 … half - 1 │ sin 0 … half - 1, of one position, angle i = position · frequency i
//
// Turning by the opposite angle undoes it, which is how gradients go back: the table then has the sines of −position.

/** Turns `heads` heads of `2 · half` f32 at `x`, in place. `table` as by `angles`. `interleaved` is 0 or 1. */
export function rope(x: usize, heads: usize, half: usize, table: usize, interleaved: i32): void {
  const sines = table + (half << 2);
  const step: usize = interleaved ? 8 : 4;
  const apart: usize = interleaved ? 4 : half << 2;
  for (; heads > 0; heads--) {
    let i: usize = 0;
    if (!interleaved) {
      for (; i + 4 <= half; i += 4) {
        const at = x + (i << 2);
        const a = v128.load(at);
        const b = v128.load(at + apart);
        const c = v128.load(table + (i << 2));
        const s = v128.load(sines + (i << 2));
        v128.store(at, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
        v128.store(at + apart, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
      }
    }
    for (; i < half; i++) {
      const at = x + i * step;
      const a = load<f32>(at);
      const b = load<f32>(at + apart);
      const c = load<f32>(table + (i << 2));
      const s = load<f32>(sines + (i << 2));
      store<f32>(at, a * c - b * s);
      store<f32>(at + apart, b * c + a * s);
    }
    x += half << 3;
  }
}
