// The HTTP front: adds jobs, waits for their end, reads their results back.
import { Job, Queue, QueueEvents } from "bullmq";

import { serve } from "../http.js";

const [host, port] = process.env.BENCH_REDIS.split(":");
const connection = { host, port: Number(port) };
const queue = new Queue("jobs", { connection });
const events = new QueueEvents("jobs", { connection });
// One promise per waiting request.
events.setMaxListeners(0);
await events.waitUntilReady();

const stored = async (id) => (await Job.fromId(queue, id))?.returnvalue ?? null;

serve({
  submit: async () => (await queue.add("noop", {})).id,
  result: async (id) => {
    const job = await Job.fromId(queue, id);
    await job.waitUntilFinished(events);
    return stored(id);
  },
  done: async (ids) => (await Promise.all(ids.map(stored))).filter((value) => value === "done").length,
});
