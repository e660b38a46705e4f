// Grids are bytes: esbuild's `binary` loader turns `import bytes from './data/p2n256.f32'` into a Uint8Array.
declare module '*.f32' {
  const bytes: Uint8Array;
  export default bytes;
}
