// Server-sent events, as OpenAI's clients read them. An event is made when the client takes it: a slow reader holds up its own text alone,
// and one that takes none for long is given up. While a text is made and nothing comes, comments keep the connection alive.
// https://html.spec.whatwg.org/multipage/server-sent-events.html

import { errorBody, HttpError, httpError } from './errors.ts';
import { TIME_LIMITS } from './limits.ts';

/** Milliseconds without an event until a comment is sent. */
const PING = 10_000;

/** An event: its data, and its name where it has one. */
export interface ServerEvent {
  /** What stands as JSON after `data:`. */
  readonly data: unknown;
  /** Its name, after `event:`. */
  readonly event?: string;
}

/**
 * A response of events.
 * @param from ends, or throws: what it throws is the last event
 * @param last data that ends every stream which does not fail, if there is any
 * @param leave called when the client has gone, or takes nothing
 */
export function eventResponse(
  from: AsyncGenerator<ServerEvent, unknown>,
  { last, leave, fail }: { last?: string; leave(reason: Error): void; fail(error: unknown): void },
): Response {
  const encoder = new TextEncoder();
  let pending: Promise<IteratorResult<ServerEvent, unknown>> | undefined;
  let watch: ReturnType<typeof setTimeout> | undefined;
  let isOver = false;

  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        clearTimeout(watch);
        pending ??= from.next();
        let timer: ReturnType<typeof setTimeout> | undefined;
        const ping = new Promise<undefined>((resolve) => {
          timer = setTimeout(() => resolve(undefined), PING);
        });
        try {
          const next = await Promise.race([pending, ping]);
          if (isOver) return;
          if (next === undefined) controller.enqueue(encoder.encode(': ping\n\n'));
          else {
            pending = undefined;
            if (next.done) {
              isOver = true;
              if (last !== undefined) controller.enqueue(encoder.encode(`data: ${last}\n\n`));
              return controller.close();
            }
            controller.enqueue(encoder.encode(textOf(next.value)));
          }
          watch = setTimeout(() => {
            isOver = true;
            leave(new Error('the client takes no events'));
            // Its end, should the client read on after all. An error of the stream would be printed by the host.
            const error = new HttpError(
              408,
              `events must be taken within ${TIME_LIMITS.stalled / 1000} s: the client is too slow`,
            );
            controller.enqueue(encoder.encode(textOf({ data: errorBody(error) })));
            controller.close();
          }, TIME_LIMITS.stalled);
        } catch (error) {
          if (isOver) return;
          isOver = true;
          fail(error);
          controller.enqueue(encoder.encode(textOf({ data: errorBody(httpError(error)) })));
          controller.close();
        } finally {
          clearTimeout(timer);
        }
      },
      cancel() {
        isOver = true;
        clearTimeout(watch);
        leave(new Error('the client has gone'));
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no', // proxies give each on at once
    },
  });
}

function textOf({ event, data }: ServerEvent): string {
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}
