// `@libsql/client` over HTTP and over WebSocket: the same checks twice.
import { createClient as overHttp } from '@libsql/client/http';
import { createClient as overWs } from '@libsql/client/ws';
import { address, assert, check, failure, freshTable, rows, together } from './support.mjs';

for (const [transport, createClient] of [['http', overHttp], ['ws', overWs]]) {
    const open = (options = {}) => createClient({ url: address(transport), ...options });

    /** A check with a client of its own and an empty table `t (a INTEGER PRIMARY KEY, b)`. */
    const withTable = (name, body, { seconds, ...options } = {}) =>
        check(`${transport}: ${name}`, async () => {
            const client = open(options);
            const t = freshTable();
            try {
                await client.execute(`CREATE TABLE ${t} (a INTEGER PRIMARY KEY, b)`);
                await body(client, t);
            } finally {
                client.close();
            }
        }, seconds);

    const count = async (client, t) => Number(rows(await client.execute(`SELECT count(*) FROM ${t}`))[0][0]);

    withTable('values of every kind come back as they were stored', async (client, t) => {
        const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
        const values = [
            [null, 'null'],
            [0n, 'integer'], [-1n, 'integer'],
            [2n ** 53n - 1n, 'integer'], [2n ** 53n, 'integer'], [2n ** 53n + 1n, 'integer'], [-(2n ** 53n) - 1n, 'integer'],
            [2n ** 63n - 1n, 'integer'], [-(2n ** 63n), 'integer'],
            [0.1, 'real'], [-2.5e-300, 'real'], [Number.MAX_VALUE, 'real'], [Number.MIN_VALUE, 'real'],
            ['', 'text'], ['a\0b\0', 'text'], ['"\'\\\n\t\u0001\u{1F600}é\u2028', 'text'], ['x'.repeat(100_000), 'text'],
            [bytes, 'blob'], [new Uint8Array(0), 'blob'], [new Uint8Array([0, 0]), 'blob'], [new Uint8Array(100_001).fill(7), 'blob'],
        ];
        for (const [value, type] of values) {
            const { lastInsertRowid } = await client.execute({ sql: `INSERT INTO ${t} (b) VALUES (?)`, args: [value] });
            const [[back, stored, inline]] = rows(
                await client.execute({ sql: `SELECT b, typeof(b), ? FROM ${t} WHERE a = ?`, args: [value, lastInsertRowid] }),
            );
            const plain = (v) => (v instanceof ArrayBuffer ? Array.from(new Uint8Array(v)) : v instanceof Uint8Array ? Array.from(v) : v);
            assert.equal(stored, type);
            assert.deepEqual(plain(back), plain(value));
            assert.deepEqual(plain(inline), plain(value));
        }
    }, { intMode: 'bigint' });

    withTable('an integer too large for a JavaScript number is refused by the client, not rounded', async (client) => {
        assert.ok((await failure(client.execute('SELECT 9007199254740993'))) instanceof RangeError);
        assert.deepEqual(rows(await client.execute('SELECT 9007199254740991')), [[9007199254740991]]);
    });

    withTable('arguments by position, by number and by name with each prefix', async (client) => {
        assert.deepEqual(rows(await client.execute({ sql: 'SELECT ?, ?3, ?2', args: ['a', 'b', 'c'] })), [['a', 'c', 'b']]);
        for (const sign of [':', '@', '$']) {
            const sql = `SELECT ${sign}x, ${sign}y, ${sign}x`;
            assert.deepEqual(rows(await client.execute({ sql, args: { x: 'a', [`${sign}y`]: 'b' } })), [['a', 'b', 'a']]);
        }
    });

    withTable('columns have names and declared types, also where no row is', async (client, t) => {
        const none = await client.execute(`SELECT a, b, a + 1 AS next FROM ${t}`);
        assert.deepEqual([none.columns, none.columnTypes, none.rows.length], [['a', 'b', 'next'], ['INTEGER', '', ''], 0]);
        const written = await client.execute(`INSERT INTO ${t} VALUES (7, 'x')`);
        assert.deepEqual([written.columns, written.rowsAffected, written.lastInsertRowid], [[], 1, 7n]);
    });

    withTable('RETURNING gives rows, and counts what it changed', async (client, t) => {
        const inserted = await client.execute(`INSERT INTO ${t} VALUES (1, 'x'), (2, 'y') RETURNING a, upper(b) AS b`);
        assert.deepEqual([inserted.columns, rows(inserted)], [['a', 'b'], [[1, 'X'], [2, 'Y']]]);
        const updated = await client.execute(`UPDATE ${t} SET b = a * 10 WHERE a > 1 RETURNING b`);
        assert.deepEqual(rows(updated), [[20]]);
        assert.equal((await client.execute(`DELETE FROM ${t}`)).rowsAffected, 2);
    });

    withTable('a violated constraint is an error of its kind, and changes nothing', async (client, t) => {
        await client.executeMultiple(`DROP TABLE ${t}; CREATE TABLE ${t} (a INTEGER PRIMARY KEY, b TEXT UNIQUE NOT NULL, c CHECK (c > 0))`);
        await client.execute(`INSERT INTO ${t} VALUES (1, 'x', 1)`);
        const broken = [
            [`INSERT INTO ${t} VALUES (2, 'x', 1)`, /UNIQUE constraint failed/],
            [`INSERT INTO ${t} VALUES (1, 'y', 1)`, /UNIQUE constraint failed/],
            [`INSERT INTO ${t} VALUES (3, NULL, 1)`, /NOT NULL constraint failed/],
            [`INSERT INTO ${t} VALUES (4, 'z', 0)`, /CHECK constraint failed/],
        ];
        for (const [sql, says] of broken) {
            const error = await failure(client.execute(sql));
            assert.match(error.code, /^SQLITE_CONSTRAINT/);
            assert.match(error.message, says);
        }
        assert.equal(await count(client, t), 1);
    });

    withTable('wrong SQL is an error with a code and a message, and the client goes on', async (client, t) => {
        const wrong = [
            ['SELEKT 1', /syntax error/],
            ['SELECT * FROM no_such_table_at_all', /no such table/],
            [`SELECT nowhere FROM ${t}`, /no such column/],
            ['SELECT', /./],
        ];
        for (const [sql, says] of wrong) {
            const error = await failure(client.execute(sql));
            assert.match(error.code, /^[A-Z][A-Z0-9_]+$/);
            assert.match(error.message, says);
            assert.deepEqual(rows(await client.execute('SELECT 1')), [[1]]);
        }
    });

    withTable('a batch is one transaction', async (client, t) => {
        const results = await client.batch(
            [
                { sql: `INSERT INTO ${t} VALUES (?, ?)`, args: [1, 'x'] },
                { sql: `INSERT INTO ${t} VALUES (:a, :b)`, args: { a: 2, b: 'y' } },
                `SELECT count(*) FROM ${t}`,
            ],
            'write',
        );
        assert.deepEqual([results[0].rowsAffected, results[1].lastInsertRowid, rows(results[2])], [1, 2n, [[2]]]);
        assert.equal(await count(client, t), 2);
    });

    withTable('a batch that fails leaves nothing behind', async (client, t) => {
        for (const mode of ['write', 'deferred']) {
            const error = await failure(client.batch([`INSERT INTO ${t} VALUES (1, 'x')`, `INSERT INTO ${t} VALUES (1, 'y')`, `INSERT INTO ${t} VALUES (2, 'z')`], mode));
            assert.match(error.code, /^SQLITE_CONSTRAINT/);
            assert.equal(await count(client, t), 0);
        }
    });

    withTable('a batch of 1 000 statements', async (client, t) => {
        const results = await client.batch(Array.from({ length: 1000 }, (_, i) => ({ sql: `INSERT INTO ${t} VALUES (?, ?)`, args: [i, `row ${i}`] })), 'write');
        assert.equal(results.length, 1000);
        assert.equal(await count(client, t), 1000);
    });

    withTable('a batch for reading refuses writes', async (client, t) => {
        await failure(client.batch(['SELECT 1', `INSERT INTO ${t} VALUES (1, 'x')`], 'read'));
        assert.equal(await count(client, t), 0);
    });

    withTable('an interactive transaction is committed whole', async (client, t) => {
        const tx = await client.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        await tx.batch([`INSERT INTO ${t} VALUES (2, 'y')`, { sql: `INSERT INTO ${t} VALUES (?, 'z')`, args: [3] }]);
        assert.deepEqual(rows(await tx.execute(`SELECT count(*) FROM ${t}`)), [[3]]);
        assert.equal(await count(client, t), 0, 'others do not see what is not committed');
        await tx.commit();
        assert.equal(await count(client, t), 3);
        assert.equal((await failure(tx.execute('SELECT 1'))).code, 'TRANSACTION_CLOSED');
    });

    withTable('an interactive transaction is rolled back whole', async (client, t) => {
        const tx = await client.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        await tx.rollback();
        assert.equal(await count(client, t), 0);
    });

    withTable('closing a transaction without an end rolls it back', async (client, t) => {
        const tx = await client.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        tx.close();
        await client.execute(`INSERT INTO ${t} VALUES (2, 'y')`);
        assert.deepEqual(rows(await client.execute(`SELECT a FROM ${t}`)), [[2]]);
    });

    withTable('an error inside a transaction does not end it', async (client, t) => {
        const tx = await client.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        await failure(tx.execute(`INSERT INTO ${t} VALUES (1, 'y')`));
        await failure(tx.execute('SELECT nowhere'));
        await tx.execute(`INSERT INTO ${t} VALUES (2, 'z')`);
        await tx.commit();
        assert.equal(await count(client, t), 2);
    });

    withTable('savepoints inside a transaction', async (client, t) => {
        const tx = await client.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        await tx.execute('SAVEPOINT inner');
        await tx.execute(`INSERT INTO ${t} VALUES (2, 'y')`);
        await tx.execute('ROLLBACK TO inner');
        await tx.execute('RELEASE inner');
        await tx.commit();
        assert.deepEqual(rows(await client.execute(`SELECT a FROM ${t}`)), [[1]]);
    });

    withTable('a transaction for reading refuses writes and keeps its snapshot', async (client, t) => {
        const tx = await client.transaction('read');
        assert.deepEqual(rows(await tx.execute(`SELECT count(*) FROM ${t}`)), [[0]]);
        await client.execute(`INSERT INTO ${t} VALUES (1, 'x')`);
        assert.deepEqual(rows(await tx.execute(`SELECT count(*) FROM ${t}`)), [[0]]);
        await failure(tx.execute(`INSERT INTO ${t} VALUES (2, 'y')`));
        tx.close();
        assert.equal(await count(client, t), 1);
    });

    withTable('two transactions that write wait for each other', async (client, t) => {
        await together(2, async (i) => {
            const tx = await client.transaction('write');
            await tx.execute({ sql: `INSERT INTO ${t} SELECT coalesce(max(a), 0) + 1, ? FROM ${t}`, args: [i] });
            await tx.execute({ sql: `INSERT INTO ${t} SELECT coalesce(max(a), 0) + 1, ? FROM ${t}`, args: [i] });
            await tx.commit();
        });
        const written = rows(await client.execute(`SELECT a, b FROM ${t} ORDER BY a`));
        assert.deepEqual(written.map(([a]) => a), [1, 2, 3, 4]);
        assert.equal(written[0][1], written[1][1], 'one after the other');
    });

    withTable('64 single inserts at once are all there, none was told that the database is busy', async (client, t) => {
        const receipts = await together(64, (i) => client.execute({ sql: `INSERT INTO ${t} (b) VALUES (?)`, args: [`row ${i}`] }));
        assert.equal(new Set(receipts.map((receipt) => receipt.lastInsertRowid)).size, 64, 'each has its own id');
        for (const [i, { lastInsertRowid }] of receipts.entries()) {
            assert.deepEqual(rows(await client.execute({ sql: `SELECT b FROM ${t} WHERE a = ?`, args: [lastInsertRowid] })), [[`row ${i}`]]);
        }
        assert.equal(await count(client, t), 64);
    });

    withTable('64 write batches at once are all there', async (client, t) => {
        await together(64, (i) => client.batch([{ sql: `INSERT INTO ${t} VALUES (?, 'x')`, args: [2 * i] }, { sql: `INSERT INTO ${t} VALUES (?, 'y')`, args: [2 * i + 1] }], 'write'));
        assert.equal(await count(client, t), 128);
    });

    withTable('a write is seen by the next read, of this client and of another', async (client, t) => {
        const other = open();
        try {
            for (let i = 1; i <= 50; i++) {
                await client.execute({ sql: `INSERT INTO ${t} VALUES (?, 'x')`, args: [i] });
                assert.equal(await count(i % 2 ? client : other, t), i);
            }
        } finally {
            other.close();
        }
    });

    withTable('executeMultiple runs all statements, with transactions of its own', async (client, t) => {
        await client.executeMultiple(`
            -- a comment; with a semicolon
            INSERT INTO ${t} VALUES (1, 'a;b');
            BEGIN; INSERT INTO ${t} VALUES (2, 'x'); INSERT INTO ${t} VALUES (3, 'y'); COMMIT;
            CREATE TRIGGER ${t}_tr AFTER INSERT ON ${t} BEGIN UPDATE ${t} SET b = 'seen' WHERE a = 1; SELECT 1; END;
            INSERT INTO ${t} VALUES (4, 'z')
        `);
        assert.deepEqual(rows(await client.execute(`SELECT a, b FROM ${t}`)), [[1, 'seen'], [2, 'x'], [3, 'y'], [4, 'z']]);
    });

    withTable('executeMultiple stops at the first error, and what was open is rolled back', async (client, t) => {
        const error = await failure(client.executeMultiple(`INSERT INTO ${t} VALUES (1, 'x'); INSERT INTO ${t} VALUES (1, 'y'); INSERT INTO ${t} VALUES (2, 'z');`));
        assert.match(error.message, /UNIQUE constraint failed/);
        assert.equal(await count(client, t), 1);
        await failure(client.executeMultiple(`BEGIN; INSERT INTO ${t} VALUES (5, 'x'); INSERT INTO ${t} VALUES (5, 'y'); COMMIT;`));
        await client.execute(`INSERT INTO ${t} VALUES (6, 'after')`);
        assert.deepEqual(rows(await client.execute(`SELECT a FROM ${t} ORDER BY a`)), [[1], [6]]);
    });

    withTable('a migration may switch foreign keys off for itself', async (client, t) => {
        await client.migrate([`ALTER TABLE ${t} ADD COLUMN c`, `INSERT INTO ${t} VALUES (1, 2, 3)`]);
        assert.deepEqual(rows(await client.execute(`SELECT * FROM ${t}`)), [[1, 2, 3]]);
    });

    withTable('10 000 rows in one answer', async (client) => {
        const { rows: all } = await client.execute(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT i, 'row ' || i FROM n`);
        assert.equal(all.length, 10000);
        assert.deepEqual(Array.from(all[9999]), [10000, 'row 10000']);
    });

    withTable('a transaction left open is rolled back in time, and others go on', async (client, t) => {
        const careless = open();
        const tx = await careless.transaction('write');
        await tx.execute(`INSERT INTO ${t} VALUES (1, 'left')`);
        // The careless one says nothing any more.
        await client.execute(`INSERT INTO ${t} VALUES (2, 'on')`);
        assert.deepEqual(rows(await client.execute(`SELECT a FROM ${t}`)), [[2]]);
        await failure(tx.commit());
        assert.deepEqual(rows(await client.execute(`SELECT a FROM ${t}`)), [[2]]);
        careless.close();
    }, { seconds: 40 });
}
