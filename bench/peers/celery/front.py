"""The HTTP front: publishes with confirms, hears of results from Redis as Celery's own client does, reads them back."""

import asyncio
import contextlib
import json
import os

import redis.asyncio as redis
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

# Results are read here directly: with a backend of its own, Celery subscribes to each job it sends.
results = redis.from_url(os.environ.pop("BENCH_RESULTS"), decode_responses=True)

from jobs import app as celery  # noqa: E402

KEY = "celery-task-meta-"
publishing = CapacityLimiter(32)
waiting: dict[str, asyncio.Event] = {}


def publish() -> str:
    return celery.send_task("noop").id


async def submit(_request):
    job = await to_thread.run_sync(publish, limiter=publishing)
    return JSONResponse({"id": job}, status_code=202)


async def result(request):
    job = request.path_params["id"]
    told = waiting.setdefault(job, asyncio.Event())
    try:
        # Registered first, then read: a result stored in between is not missed.
        while (stored := await results.get(KEY + job)) is None:
            await told.wait()
            told.clear()
    finally:
        waiting.pop(job, None)
    return JSONResponse({"id": job, "result": json.loads(stored)["result"]})


async def done(request):
    stored = await results.mget([KEY + job for job in await request.json()])
    return JSONResponse({"done": sum(1 for one in stored if one and json.loads(one)["status"] == "SUCCESS")})


async def listen():
    """Celery publishes each result it stores under the name of its key."""
    async with results.pubsub() as stored:
        await stored.psubscribe(KEY + "*")
        async for message in stored.listen():
            if message["type"] == "pmessage" and (told := waiting.get(message["channel"].removeprefix(KEY))):
                told.set()


@contextlib.asynccontextmanager
async def lifespan(_app):
    listener = asyncio.create_task(listen())
    yield
    listener.cancel()


async def ready(_request):
    return Response(status_code=204)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", ready),
        Route("/jobs", submit, methods=["POST"]),
        Route("/jobs/{id}", result),
        Route("/results", done, methods=["POST"]),
    ],
)
