// Programs are texts: esbuild's `text` loader turns `import program from '../../python/higgs_wasm.py'` into a string.
declare module '*.py' {
  const program: string;
  export default program;
}
