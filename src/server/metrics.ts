// Figures of a running server, as Prometheus reads them: counters, gauges, histograms.
// https://prometheus.io/docs/instrumenting/exposition_formats/

/** Seconds, and texts of a pass, that are told apart. */
const TEXTS = [1, 2, 4, 8, 16, 32, 64];
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

interface Histogram {
  readonly counts: number[]; // observations up to each limit
  sum: number;
  count: number;
}

/** What a request was. */
interface Observed {
  readonly route: string;
  readonly status: number;
  readonly ms: number;
  readonly firstMs?: number | undefined;
  readonly prompt: number;
  readonly cached: number;
  readonly generated: number;
}

interface Metrics {
  observe(observed: Observed): void;
  /** @param gauges values of now, by name @param passes of models, by the texts that went through together */
  text(gauges: Readonly<Record<string, readonly [help: string, value: number]>>, passes: readonly number[]): string;
}

const histogram = (): Histogram => ({ counts: SECONDS.map(() => 0), sum: 0, count: 0 });

function add(to: Histogram, seconds: number): void {
  for (const [i, limit] of SECONDS.entries()) if (seconds <= limit) to.counts[i]++;
  to.sum += seconds;
  to.count++;
}

// Passes as a histogram of their texts.
function batches(passes: readonly number[]): Histogram {
  const upTo = (limit: number) => passes.reduce((sum, each, size) => (size <= limit ? sum + each : sum), 0);
  const sum = passes.reduce((sum, each, size) => sum + each * size, 0);
  return { counts: TEXTS.map(upTo), sum, count: upTo(Number.POSITIVE_INFINITY) };
}

/** @returns counters of a server, all at zero */
export function openMetrics(): Metrics {
  const requests = new Map<string, number>();
  const tokens = { prompt: 0, cached: 0, generated: 0 };
  const duration = histogram();
  const first = histogram();

  return {
    observe({ route, status, ms, firstMs, prompt, cached, generated }) {
      const labels = `route="${route}",status="${status}"`;
      requests.set(labels, (requests.get(labels) ?? 0) + 1);
      tokens.prompt += prompt;
      tokens.cached += cached;
      tokens.generated += generated;
      add(duration, ms / 1000);
      if (firstMs !== undefined) add(first, firstMs / 1000);
    },
    text(gauges, passes) {
      const lines: string[] = [];
      const family = (name: string, type: string, help: string, rows: readonly string[]) => {
        lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...rows);
      };
      const rows = [...requests].map(([labels, count]) => `higgs_requests_total{${labels}} ${count}`);
      family('higgs_requests_total', 'counter', 'Requests, by route and status.', rows);
      for (const [kind, count] of Object.entries(tokens)) {
        const name = `higgs_${kind}_tokens_total`;
        family(name, 'counter', `Tokens: ${kind}.`, [`${name} ${count}`]);
      }
      for (const [name, [help, value]] of Object.entries(gauges)) {
        family(`higgs_${name}`, 'gauge', help, [`higgs_${name} ${value}`]);
      }
      const histograms: [string, string, readonly number[], Histogram][] = [
        ['higgs_request_seconds', 'Time of a request.', SECONDS, duration],
        ['higgs_first_token_seconds', 'Time to the first token.', SECONDS, first],
        ['higgs_batch_size', 'Texts of a pass through a model.', TEXTS, batches(passes)],
      ];
      for (const [name, help, limits, { counts, sum, count }] of histograms) {
        family(name, 'histogram', help, [
          ...limits.map((limit, i) => `${name}_bucket{le="${limit}"} ${counts[i]}`),
          ...[`${name}_bucket{le="+Inf"} ${count}`, `${name}_sum ${sum}`, `${name}_count ${count}`],
        ]);
      }
      return `${lines.join('\n')}\n`;
    },
  };
}
