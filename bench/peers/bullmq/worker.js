// The worker: a job that does nothing. Its return value is stored with the job.
import { Worker } from "bullmq";

const [host, port] = process.env.BENCH_REDIS.split(":");
const worker = new Worker("jobs", async () => "done", { connection: { host, port: Number(port) }, concurrency: 64 });
await worker.waitUntilReady();
worker.on("error", (error) => console.error(error));
