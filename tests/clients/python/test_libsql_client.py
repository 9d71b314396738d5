"""`libsql-client` over HTTP (Hrana 1: single statements and batches) and over WebSocket (transactions, too)."""

import asyncio
import unittest

import libsql_client
from libsql_client import LibsqlError, Statement

from support import address, fresh_table

WITHIN = 30


class Common:
    """The checks of both transports."""

    scheme = ""

    def __init_subclass__(cls):
        # The same check has a line of its own for each transport.
        cls.shortDescription = lambda self: f"python {self.scheme}: {self._testMethodDoc}"

    async def asyncSetUp(self):
        self.client = libsql_client.create_client(address(self.scheme))
        self.t = fresh_table()
        await self.execute(f"CREATE TABLE {self.t} (a INTEGER PRIMARY KEY, b)")

    async def asyncTearDown(self):
        await self.client.close()

    async def execute(self, sql, args=None):
        return await asyncio.wait_for(self.client.execute(sql, args), WITHIN)

    async def batch(self, statements):
        return await asyncio.wait_for(self.client.batch(statements), WITHIN)

    async def rows(self, sql, args=None):
        return [tuple(row) for row in await self.execute(sql, args)]

    async def count(self):
        return (await self.rows(f"SELECT count(*) FROM {self.t}"))[0][0]

    async def fails(self, awaitable):
        with self.assertRaises(LibsqlError) as caught:
            await asyncio.wait_for(awaitable, WITHIN)
        self.assertRegex(caught.exception.code, "^[A-Z][A-Z0-9_]+$")
        return caught.exception

    async def test_values(self):
        """values of every kind come back as they were stored"""
        kinds = [
            (None, "null"),
            (0, "integer"), (-1, "integer"), (2**53 - 1, "integer"), (2**53 + 1, "integer"), (-(2**53) - 1, "integer"),
            (2**63 - 1, "integer"), (-(2**63), "integer"),
            (0.1, "real"), (1.7976931348623157e308, "real"), (5e-324, "real"), (3.0, "real"),
            ("", "text"), ("a\0b\0", "text"), ("\"'\\\n\t\u0001\U0001f600é", "text"), ("x" * 100_000, "text"),
            (bytes(range(256)), "blob"), (b"", "blob"), (b"\0\0", "blob"), (b"\7" * 100_001, "blob"),
        ]
        for value, kind in kinds:
            written = await self.execute(f"INSERT INTO {self.t} (b) VALUES (?)", [value])
            found = await self.rows(f"SELECT b, typeof(b), ? FROM {self.t} WHERE a = ?", [value, written.last_insert_rowid])
            self.assertEqual(found, [(value, kind, value)])
            self.assertIs(type(found[0][0]), type(value))

    async def test_arguments(self):
        """arguments by position and by name with each prefix"""
        self.assertEqual(await self.rows("SELECT ?, ?3, ?2", ["a", "b", "c"]), [("a", "c", "b")])
        for sign in ":@$":
            found = await self.rows(f"SELECT {sign}x, {sign}y, {sign}x", {"x": "a", f"{sign}y": "b"})
            self.assertEqual(found, [("a", "b", "a")])

    async def test_returning(self):
        """RETURNING gives rows; others say what they changed"""
        found = await self.execute(f"INSERT INTO {self.t} VALUES (1, 'x'), (2, 'y') RETURNING a, upper(b) AS b")
        self.assertEqual((found.columns, [tuple(row) for row in found]), (("a", "b"), [(1, "X"), (2, "Y")]))
        written = await self.execute(f"INSERT INTO {self.t} VALUES (7, 'z')")
        self.assertEqual((written.rows_affected, written.last_insert_rowid), (1, 7))
        self.assertEqual((await self.execute(f"DELETE FROM {self.t}")).rows_affected, 3)

    async def test_constraint(self):
        """a violated constraint is an error with its code"""
        await self.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        error = await self.fails(self.client.execute(f"INSERT INTO {self.t} VALUES (1, 'y')"))
        self.assertRegex(error.code, "^SQLITE_CONSTRAINT")
        self.assertIn("UNIQUE constraint failed", str(error))
        self.assertEqual(await self.count(), 1)

    async def test_wrong_sql(self):
        """wrong SQL is an error, and the client goes on"""
        for sql, says in [("SELEKT 1", "syntax error"), ("SELECT * FROM nowhere_at_all", "no such table"), ("SELECT", ".")]:
            self.assertRegex(str(await self.fails(self.client.execute(sql))), says)
            self.assertEqual(await self.rows("SELECT 1"), [(1,)])

    async def test_batch(self):
        """a batch is one transaction"""
        results = await self.batch([
            Statement(f"INSERT INTO {self.t} VALUES (?, ?)", [1, "x"]),
            (f"INSERT INTO {self.t} VALUES (:a, :b)", {"a": 2, "b": "y"}),
            f"SELECT count(*) FROM {self.t}",
        ])
        self.assertEqual((results[0].rows_affected, results[1].last_insert_rowid, results[2][0][0]), (1, 2, 2))
        self.assertEqual(await self.count(), 2)

    async def test_failing_batch(self):
        """a batch that fails leaves nothing behind"""
        insert = f"INSERT INTO {self.t} VALUES (1, 'x')"
        await self.fails(self.client.batch([insert, insert]))
        self.assertEqual(await self.count(), 0)

    async def test_together(self):
        """64 single inserts at once are all there"""
        inserts = (self.execute(f"INSERT INTO {self.t} (b) VALUES (?)", [f"row {i}"]) for i in range(64))
        receipts = await asyncio.gather(*inserts)
        self.assertEqual(len({receipt.last_insert_rowid for receipt in receipts}), 64)
        self.assertEqual(await self.count(), 64)

    async def test_own_writes(self):
        """a write is seen by the next read"""
        for i in range(1, 31):
            await self.execute(f"INSERT INTO {self.t} VALUES (?, 'x')", [i])
            self.assertEqual(await self.count(), i)


class OverHttp(Common, unittest.IsolatedAsyncioTestCase):
    scheme = "http"


class OverWebSocket(Common, unittest.IsolatedAsyncioTestCase):
    scheme = "ws"

    async def test_commit(self):
        """an interactive transaction is committed whole, and unseen before"""
        tx = self.client.transaction()
        await tx.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        await tx.execute(f"INSERT INTO {self.t} VALUES (2, 'y')")
        self.assertEqual(tuple((await tx.execute(f"SELECT count(*) FROM {self.t}"))[0]), (2,))
        self.assertEqual(await self.count(), 0)
        await tx.commit()
        self.assertEqual(await self.count(), 2)

    async def test_rollback(self):
        """an interactive transaction is rolled back whole"""
        tx = self.client.transaction()
        await tx.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        await tx.rollback()
        self.assertEqual(await self.count(), 0)

    async def test_close(self):
        """closing a transaction without an end rolls it back, and others go on"""
        tx = self.client.transaction()
        await tx.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        tx.close()
        await self.execute(f"INSERT INTO {self.t} VALUES (2, 'y')")
        self.assertEqual(await self.rows(f"SELECT a FROM {self.t}"), [(2,)])

    async def test_error_inside(self):
        """an error inside a transaction does not end it"""
        tx = self.client.transaction()
        await tx.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        await self.fails(tx.execute(f"INSERT INTO {self.t} VALUES (1, 'y')"))
        await tx.execute(f"INSERT INTO {self.t} VALUES (2, 'z')")
        await tx.commit()
        self.assertEqual(await self.count(), 2)

    async def test_lost_connection(self):
        """a transaction whose connection is lost is rolled back, and others go on"""
        careless = libsql_client.create_client(address("ws"))
        tx = careless.transaction()
        await tx.execute(f"INSERT INTO {self.t} VALUES (1, 'x')")
        await careless.close()
        await self.execute(f"INSERT INTO {self.t} VALUES (2, 'y')")
        self.assertEqual(await self.rows(f"SELECT a FROM {self.t}"), [(2,)])
