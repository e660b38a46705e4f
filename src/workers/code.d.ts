declare module '*/build/worker.js' {
  const code: string;
  export default code;
}
