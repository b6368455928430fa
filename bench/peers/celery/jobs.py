"""The Celery side: one task that does nothing. `celery -A jobs worker` runs it, front.py sends it."""

import os

from celery import Celery
from kombu import Queue

app = Celery("jobs", broker=os.environ["BENCH_AMQP"], backend=os.environ.get("BENCH_RESULTS"))
app.conf.update(
    # A queue of this benchmark's own, and a quorum queue: confirmed when it is on disk.
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_default_queue_type="quorum",
    task_queues=[Queue(os.environ["BENCH_QUEUE"], queue_arguments={"x-queue-type": "quorum"})],
    task_default_delivery_mode="persistent",
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=32,
    # The message is acknowledged after the result is stored, as Gantry's claim outlives its worker.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=16,
    task_ignore_result=False,
    result_persistent=True,
    # Nothing that the work does not need.
    worker_send_task_events=False,
    task_send_sent_event=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop():
    return "done"
