// The HTTP front: adds jobs, hears of results by LISTEN, reads them back.
import { randomUUID } from "node:crypto";

import { runMigrations } from "graphile-worker";
import pg from "pg";

import { serve } from "../http.js";

const connectionString = process.env.BENCH_POSTGRES;
const pool = new pg.Pool({ connectionString, max: 32 });
await runMigrations({ connectionString });
await pool.query("create table if not exists results (id uuid primary key, result text not null)");

const waiting = new Map();
const listener = new pg.Client({ connectionString });
await listener.connect();
listener.on("notification", ({ payload }) => waiting.get(payload)?.());
await listener.query("listen results");

const stored = async (ids) => (await pool.query("select id, result from results where id = any($1)", [ids])).rows;

serve({
  submit: async () => {
    const id = randomUUID();
    await pool.query("select graphile_worker.add_job('noop', json_build_object('id', $1::text), max_attempts := 3)", [id]);
    return id;
  },
  result: async (id) => {
    for (;;) {
      // Registered first, then read: a result stored in between is not missed.
      const told = new Promise((resolve) => waiting.set(id, resolve));
      const [row] = await stored([id]);
      if (row) {
        waiting.delete(id);
        return row.result;
      }
      await told;
    }
  },
  done: async (ids) => (await stored(ids)).length,
});
