// Constants in all lanes that engines do not know: some make one that they know anew at each use, of three instructions, even in a loop.
// Call these before a loop.

// Pages of memory are at most 2^16, so this is 0, and no engine says so.
// @ts-ignore: decorator
@inline
function nothing(): u32 {
  return <u32>(memory.size() >>> 17);
}

// @ts-ignore: decorator
@inline
export function floats(value: f32): v128 {
  return f32x4.splat(reinterpret<f32>(reinterpret<u32>(value) + nothing()));
}

// @ts-ignore: decorator
@inline
export function words(value: i32): v128 {
  return i32x4.splat(value + nothing());
}
