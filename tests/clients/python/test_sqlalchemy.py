"""SQLAlchemy with its libSQL dialect, over HTTP.

Not asked here, because this client cannot do it, whatever the server: integers beyond 32 bits (it sends them as floats),
blobs (it has no `Binary`), and transactions of several threads (it waits for an answer with Python's lock held).
"""

import unittest

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine, insert, select, update

from support import BASE, fresh_table


class SqlAlchemy(unittest.TestCase):
    def shortDescription(self):
        return f"sqlalchemy http: {self._testMethodDoc}"

    def setUp(self):
        self.engine = create_engine(f"sqlite+libsql://{BASE.removeprefix('http://')}/?secure=false")
        self.table = Table(
            fresh_table(), MetaData(),
            Column("id", Integer, primary_key=True), Column("name", String, unique=True),
            Column("score", Float),
        )
        self.table.metadata.create_all(self.engine, checkfirst=False)

    def tearDown(self):
        self.engine.dispose()

    def names(self):
        with self.engine.connect() as conn:
            return list(conn.scalars(select(self.table.c.name).order_by(self.table.c.id)))

    def test_rows(self):
        """rows come back typed"""
        row = (2**31 - 1, "Ann", 0.25)
        with self.engine.begin() as conn:
            conn.execute(insert(self.table), [dict(zip(("id", "name", "score"), row))])
            conn.execute(update(self.table).values(score=0.5))
        with self.engine.connect() as conn:
            self.assertEqual([tuple(found) for found in conn.execute(select(self.table))], [(row[0], "Ann", 0.5)])

    def test_commit_and_rollback(self):
        """a transaction is committed, or rolled back"""
        with self.engine.connect() as conn:
            conn.execute(insert(self.table), {"name": "kept"})
            conn.commit()
            conn.execute(insert(self.table), {"name": "gone"})
            conn.rollback()
        self.assertEqual(self.names(), ["kept"])

    def test_constraint(self):
        """a violated constraint is an error, and the next transaction works"""
        with self.engine.begin() as conn:
            conn.execute(insert(self.table), {"name": "Ann"})
        with self.assertRaisesRegex(Exception, "UNIQUE constraint failed"):
            with self.engine.begin() as conn:
                conn.execute(insert(self.table), {"name": "Ann"})
        with self.engine.begin() as conn:
            conn.execute(insert(self.table), {"name": "Bob"})
        self.assertEqual(self.names(), ["Ann", "Bob"])
