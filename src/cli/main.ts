// The program: a command line from the process, an exit code to it.

import { onOutputError } from '../terminal/print.ts';
import { setEngineFlag } from './common/engine.ts';
import { EXIT } from './common/session.ts';
import { run } from './index.ts';

// A reader that goes away, as in `higgs inspect … | head`, is no fault.
onOutputError(({ code }) => process.exit(code === 'EPIPE' ? EXIT.done : EXIT.failed));

setEngineFlag();
process.exitCode = await run(process.argv.slice(2));
