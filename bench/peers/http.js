// The front that the peers in JavaScript share: node's own HTTP server, no framework.
import { createServer } from "node:http";

const answer = (response, status, body) => {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
};

const read = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString());
};

/** Serves the calls of README.md with `submit() → id`, `result(id) → value` and `done(ids) → count`. */
export const serve = ({ submit, result, done }) => {
  const route = async (request, response) => {
    const { method, url } = request;
    if (method === "POST" && url === "/jobs") {
      answer(response, 202, { id: await submit() });
    } else if (method === "GET" && url.startsWith("/jobs/")) {
      const id = url.slice("/jobs/".length);
      answer(response, 200, { id, result: await result(id) });
    } else if (method === "POST" && url === "/results") {
      answer(response, 200, { done: await done(await read(request)) });
    } else {
      answer(response, url === "/" ? 200 : 404, {});
    }
  };
  createServer((request, response) => {
    route(request, response).catch((error) => answer(response, 500, { error: String(error) }));
  }).listen(Number(process.env.PORT), "127.0.0.1");
};
