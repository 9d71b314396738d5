// Prisma's adapter by itself, as Prisma's engine calls it: no generated client is needed for that.
import { PrismaLibSql } from '@prisma/adapter-libsql';
import { address, assert, check, failure, freshTable } from './support.mjs';

const withTable = (name, body) =>
    check(`prisma http: ${name}`, async () => {
        const db = await new PrismaLibSql({ url: address('http') }).connect();
        const t = freshTable();
        try {
            await db.executeScript(`CREATE TABLE ${t} (a INTEGER PRIMARY KEY, b TEXT UNIQUE);`);
            await body(db, t);
        } finally {
            await db.dispose();
        }
    });
const query = (sql, args = []) => ({ sql, args, argTypes: args.map(() => ({ scalarType: 'unknown', arity: 'scalar' })) });
const all = async (db, t) => (await db.queryRaw(query(`SELECT a, b FROM ${t} ORDER BY a`))).rows.map((row) => Array.from(row, String));

withTable('executes and queries', async (db, t) => {
    assert.equal(await db.executeRaw(query(`INSERT INTO ${t} VALUES (?, ?), (?, ?)`, [1, 'x', 2, 'y'])), 2);
    const found = await db.queryRaw(query(`SELECT a, b FROM ${t} WHERE b = ?`, ['y']));
    assert.deepEqual([found.columnNames, found.rows.map((row) => Array.from(row, String))], [['a', 'b'], [['2', 'y']]]);
});

withTable('a violated constraint is an error that says so', async (db, t) => {
    await db.executeRaw(query(`INSERT INTO ${t} VALUES (1, 'x')`));
    const error = await failure(db.executeRaw(query(`INSERT INTO ${t} VALUES (2, 'x')`)));
    assert.match(error.cause?.originalMessage, /UNIQUE constraint failed/);
});

withTable('commits and rolls back', async (db, t) => {
    const kept = await db.startTransaction();
    await kept.executeRaw(query(`INSERT INTO ${t} VALUES (1, 'x')`));
    await kept.commit();
    const gone = await db.startTransaction();
    await gone.executeRaw(query(`INSERT INTO ${t} VALUES (2, 'y')`));
    await gone.rollback();
    assert.deepEqual(await all(db, t), [['1', 'x']]);
});
