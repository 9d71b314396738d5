"""aiosqlite, the asynchronous sqlite3 of Python (https://aiosqlite.omnilib.dev): one connection with a thread of its own.

--way each     every caller executes its INSERT and commits (if no way is given). There is one transaction for all of them: who
               commits first commits the rows of the others too, and a rollback would take them along
--way batches  a batch worker as applications write it on top: callers put their writes into an asyncio.Queue, and a worker
               takes 10 of them, or what has come 100 ms after the first, executes them in one transaction and then answers
               each caller by its future

Arguments and report as those of the Rust peers (../harness); the SQLite is the one that this Python was built with.
"""

import argparse
import asyncio
import itertools
import json
import pathlib
import time

import aiosqlite

SCHEMA = pathlib.Path(__file__).parents[3] / "src/relay/migrations/V1__accounts_and_message_logs.sql"
COLUMNS = ["kook_message_id", "kook_channel_id", "content", "message_type", "sender_name", "target_platform",
           "target_channel", "status", "error_message", "latency_ms", "created_at"]
INSERT = f"INSERT INTO message_logs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
CREATED_AT = "2026-01-01T00:00:00.000Z"
BATCH_WRITES, BATCH_SECONDS = 10, 0.1


class BatchWorker:
    def __init__(self, conn):
        self.conn = conn
        self.queue = asyncio.Queue()
        self.commits = self.writes = 0
        self.task = asyncio.create_task(self.work())

    async def execute(self, values):
        answer = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((values, answer))
        await answer

    async def work(self):
        while True:
            batch = [await self.queue.get()]
            try:
                async with asyncio.timeout(BATCH_SECONDS):
                    while len(batch) < BATCH_WRITES:
                        batch.append(await self.queue.get())
            except TimeoutError:
                pass
            try:
                await self.conn.executemany(INSERT, [values for values, _ in batch])
                await self.conn.commit()
            except Exception as error:
                await self.conn.rollback()
                for _, answer in batch:
                    answer.set_exception(error)
                continue
            self.commits += 1
            self.writes += len(batch)
            for _, answer in batch:
                answer.set_result(None)


async def call(write, rows, span, report):
    sent = time.monotonic()
    while sent < span[1]:
        try:
            await write(next(rows))
        except Exception as error:
            report["errors"] += 1
            report["error"] = report["error"] or str(error)
            await asyncio.sleep(0.001)
        else:
            answered = time.monotonic()
            report["acknowledged"] += 1
            if span[0] <= answered <= span[1]:
                report["latencies"].append(answered - sent)
        sent = time.monotonic()


async def main(options):
    lines = [json.loads(line) for line in options.rows.read_text().splitlines()]
    lines = [[line.get(column) for column in COLUMNS[:-1]] + [CREATED_AT] for line in lines]
    rows = ((f"{line[0]}-{number}", *line[1:]) for number, line in enumerate(itertools.cycle(lines)))
    file = options.dir / "peer.db"
    async with aiosqlite.connect(file) as conn:
        for pragma in ["journal_mode = wal", f"synchronous = {options.synchronous}", "cache_size = -8192"]:
            await conn.execute(f"PRAGMA {pragma}")
        await conn.executescript(SCHEMA.read_text())

        async def each(values):
            await conn.execute(INSERT, values)
            await conn.commit()

        worker = BatchWorker(conn) if options.way == "batches" else None
        report = {"acknowledged": 0, "errors": 0, "error": None, "latencies": []}
        begin = time.monotonic() + options.seconds / 5
        callers = [call(worker.execute if worker else each, rows, (begin, begin + options.seconds), report)
                   for _ in range(options.callers)]
        await asyncio.gather(*callers)
        if worker:
            worker.task.cancel()

    taken = sorted(report.pop("latencies"))
    at = lambda hundredth: round(taken[min(len(taken) * hundredth // 100, len(taken) - 1)] * 1e6) if taken else None
    batch = worker.writes / worker.commits if worker and worker.commits else None
    print(json.dumps({"seconds": options.seconds, "inserts": len(taken), "p50_us": at(50), "p99_us": at(99),
                      "batch": batch, "file": str(file), **report}))


arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--dir", type=pathlib.Path, required=True)
arguments.add_argument("--rows", type=pathlib.Path, required=True)
arguments.add_argument("--callers", type=int, default=1)
arguments.add_argument("--seconds", type=float, default=1.0)
arguments.add_argument("--synchronous", choices=["full", "normal"], default="full")
arguments.add_argument("--way", choices=["each", "batches"], default="each")
asyncio.run(main(arguments.parse_args()))
