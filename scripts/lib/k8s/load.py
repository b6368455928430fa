"""A steady load of runs, each followed live, until SIGTERM; then sees to it that every accepted one ended once, and that no follower saw a gap.

    load.py URL IMAGE --every SECONDS --lines N --pause SECONDS [--count N] [--figures FILE]

The key is in GANTRY_API_KEY. Creates a run every SECONDS (or COUNT at once, and no more), which says N lines with pauses between them. A request
that fails is made again with its Idempotency-Key, as any client does; a follower that is cut off comes back with its Last-Event-ID. Called by scripts/e2e-k8s.sh.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from urllib.parse import urlsplit

FINAL = {"passed", "failed", "unstable", "error", "cancelled", "timed_out"}
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Api:
    def __init__(self, url):
        self.at, self.key = urlsplit(url), os.environ["GANTRY_API_KEY"]

    def open(self, method, path, body=None, headers=None, timeout=20):
        connection = http.client.HTTPConnection(self.at.hostname, self.at.port or 80, timeout=timeout)
        all_headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, f"/api/v1{path}", body=None if body is None else json.dumps(body), headers=all_headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def json(self, method, path, body=None, headers=None):
        """Status and document; status 0 where nobody answered."""
        try:
            connection, answer = self.open(method, path, body, headers)
        except BROKEN:
            return 0, None
        try:
            return answer.status, json.loads(answer.read() or b"null")
        except BROKEN:
            return 0, None
        finally:
            connection.close()


class Run:
    """One accepted run and what its follower saw."""

    def __init__(self, api, image, lines, pause, give_up):
        self.api, self.lines, self.pause, self.give_up = api, lines, pause, give_up
        self.problems, self.reconnects, self.refused = [], 0, 0
        self.seen, self.text, self.last, self.ended = {}, {}, None, None
        script = f'i=0; while [ $i -lt {lines} ]; do echo "line $i"; i=$((i+1)); sleep {pause}; done'
        self.body = {"image": image, "command": ["sh", "-c", script], "timeout_seconds": 600, "labels": {"of": "e2e"}}
        self.id = None

    def live(self):
        key = str(uuid.uuid4())
        while self.id is None and not self.give_up.is_set():
            status, run = self.api.json("POST", "/runs", self.body, {"Idempotency-Key": key})
            if status == 202:
                self.id = run["id"]
            elif status in (0, 409, 429) or status >= 500:
                self.refused += 1
                time.sleep(1)
            else:
                self.problems.append(f"a run was refused with {status}: {run}")
                return
        while self.id and self.ended is None and not self.give_up.is_set():
            try:
                self.follow()
            except BROKEN:
                pass
            if self.ended is None:
                self.reconnects += 1
                time.sleep(0.3)

    def follow(self):
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.last} if self.last else {})}
        connection, answer = self.api.open("GET", f"/runs/{self.id}/logs?follow=1", headers=headers, timeout=60)
        try:
            if answer.status != 200:
                if answer.status in (400, 401, 403, 404):
                    self.problems.append(f"{self.id}: following was answered with {answer.status}")
                    self.give_up.wait(1)
                time.sleep(0.5)
                return
            event = {}
            while self.ended is None:
                line = answer.readline()
                if not line:
                    return
                line = line.decode().rstrip("\r\n")
                if line:
                    name, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    event[name] = f"{event[name]}\n{value}" if name == "data" and name in event else value
                    continue
                if "data" in event:
                    self.take(event)
                event = {}
        finally:
            connection.close()

    def take(self, event):
        if event.get("event") == "end":
            self.ended = json.loads(event["data"])
        if event.get("event") != "log":
            return
        data = json.loads(event["data"])
        attempt, offset = data["attempt"], data["offset"]
        piece = data["text"].encode() if data.get("text") is not None else base64.b64decode(data["base64"])
        expected = self.seen.get(attempt, 0)
        if offset != expected:
            self.problems.append(f"{self.id}: attempt {attempt} went on at byte {offset} instead of {expected}: a {'gap' if offset > expected else 'duplicate'}")
        self.seen[attempt] = offset + len(piece)
        self.last = event.get("id", self.last)
        if data["stream"] != "system":
            self.text[attempt] = self.text.get(attempt, b"") + piece

    def judge(self):
        """After all is over: one final state, the same one everywhere, and the log as it is stored."""
        if self.id is None:
            return
        status, run = self.api.json("GET", f"/runs/{self.id}")
        if status != 200:
            self.problems.append(f"{self.id}: accepted, and answered with {status} now")
            return
        self.status, self.attempts, self.reason = run["status"], run["attempt"], (run["reason"] or {}).get("code")
        if run["status"] not in FINAL:
            self.problems.append(f"{self.id}: accepted, and {run['status']} still")
            return
        if self.ended is None:
            self.problems.append(f"{self.id}: its follower saw no end")
        elif (self.ended["status"], self.ended["finished_at"]) != (run["status"], run["finished_at"]):
            self.problems.append(f"{self.id}: was {self.ended['status']} at {self.ended['finished_at']}, and is {run['status']} at {run['finished_at']}")
        if run["status"] == "passed":
            said = [line for line in self.text.get(run["attempt"], b"").decode().splitlines()]
            if said != [f"line {number}" for number in range(self.lines)]:
                self.problems.append(f"{self.id}: its follower saw {len(said)} of {self.lines} lines: {said[:3]} … {said[-3:]}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("image")
    arguments.add_argument("--every", type=float, default=5)
    arguments.add_argument("--count", type=int, default=0)
    arguments.add_argument("--lines", type=int, default=20)
    arguments.add_argument("--pause", type=float, default=0.25)
    arguments.add_argument("--patience", type=float, default=300)
    arguments.add_argument("--figures")
    options = arguments.parse_args()
    stop, give_up = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    socket.setdefaulttimeout(60)
    api, runs, threads = Api(options.url), [], []

    while not stop.is_set() and not (options.count and len(runs) == options.count):
        runs.append(Run(api, options.image, options.lines, options.pause, give_up))
        threads.append(threading.Thread(target=runs[-1].live, daemon=True))
        threads[-1].start()
        if not options.count:
            stop.wait(options.every)
    deadline = time.monotonic() + options.patience
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    give_up.set()
    for run in runs:
        run.judge()

    problems = [each for run in runs for each in run.problems]
    accepted = [run for run in runs if run.id]
    outcomes = {}
    for run in accepted:
        outcome = getattr(run, "status", "unknown") + (f"/{run.reason}" if getattr(run, "status", "") == "error" else "")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    figures = {
        "accepted": len(accepted),
        "outcomes": outcomes,
        "more than one attempt": sum(getattr(run, "attempts", 0) > 1 for run in accepted),
        "followers that came back": sum(run.reconnects > 0 for run in accepted),
        "requests made again": sum(run.refused for run in runs),
        "problems": len(problems),
    }
    if options.figures:
        with open(options.figures, "w") as file:
            json.dump(figures, file)
    for each in problems:
        print(each)
    print(json.dumps(figures), file=sys.stderr)
    if not accepted:
        print("no run was accepted")
    return 1 if problems or not accepted else 0


if __name__ == "__main__":
    sys.exit(main())
