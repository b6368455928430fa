// The service: a handler that does nothing. Restate's own ingress is the HTTP front and keeps results.
import * as restate from "@restatedev/restate-sdk";

const jobs = restate.service({ name: "jobs", handlers: { noop: async () => "done" } });

await restate.serve({ services: [jobs], port: Number(process.env.PORT) });
