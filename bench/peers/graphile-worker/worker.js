// The worker: a job that stores its result, as graphile-worker itself forgets a job that succeeded.
import { run } from "graphile-worker";

await run({
  connectionString: process.env.BENCH_POSTGRES,
  noHandleSignals: true,
  preset: {
    worker: {
      concurrentJobs: 32,
      maxPoolSize: 34,
      // Takes jobs and reports their ends in batches: its documentation's advice for throughput.
      localQueue: { size: 128 },
      completeJobBatchDelay: 0,
    },
  },
  taskList: {
    noop: async ({ id }, { query }) => {
      await query("insert into results (id, result) values ($1, 'done') on conflict do nothing", [id]);
      // After the commit and by itself: within the transaction it would make commits wait for each other.
      await query("select pg_notify('results', $1)", [id]);
    },
  },
});
