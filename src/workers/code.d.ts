declare module '*/build/worker.js' {
  const code: string;
  export default code;
}

declare module '*/build/decoder-worker.js' {
  const code: string;
  export default code;
}
