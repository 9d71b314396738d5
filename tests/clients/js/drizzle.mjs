// Drizzle over `@libsql/client`, on both transports: its query builder, transactions with a nested one, and batches.
import { drizzle } from 'drizzle-orm/libsql';
import { createClient as overHttp } from '@libsql/client/http';
import { createClient as overWs } from '@libsql/client/ws';
import { eq, sql } from 'drizzle-orm';
import { blob, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { address, assert, check, failure, freshTable, together } from './support.mjs';

for (const [transport, createClient] of [['http', overHttp], ['ws', overWs]]) {
    const withTable = (name, body) =>
        check(`drizzle ${transport}: ${name}`, async () => {
            const client = createClient({ url: address(transport) });
            const users = sqliteTable(freshTable(), {
                id: integer().primaryKey({ autoIncrement: true }),
                name: text().notNull().unique(),
                since: integer({ mode: 'timestamp_ms' }),
                admin: integer({ mode: 'boolean' }).notNull().default(false),
                notes: text({ mode: 'json' }),
                score: real(),
                key: blob({ mode: 'buffer' }),
            });
            const db = drizzle(client);
            try {
                await db.run(sql`
                    CREATE TABLE ${users} (id integer primary key autoincrement, name text not null unique,
                        since integer, admin integer not null default 0, notes text, score real, key blob);
                `);
                await body(db, users);
            } finally {
                client.close();
            }
        });
    const names = async (db, users) => (await db.select({ name: users.name }).from(users).orderBy(users.id)).map(({ name }) => name);

    withTable('rows come back typed', async (db, users) => {
        const row = { id: 1, name: 'Ann', since: new Date(1700000000123), admin: true, notes: { a: [1, null] }, score: 0.25, key: Buffer.from([0, 255]) };
        assert.deepEqual(await db.insert(users).values(row).returning(), [row]);
        assert.deepEqual(await db.select().from(users).where(eq(users.id, 1)).get(), row);
    });

    withTable('insert, upsert, update and delete say what they did', async (db, users) => {
        assert.equal((await db.insert(users).values([{ name: 'Ann' }, { name: 'Bob' }])).rowsAffected, 2);
        await db.insert(users).values({ name: 'Ann', admin: true }).onConflictDoUpdate({ target: users.name, set: { admin: true } });
        assert.deepEqual(await db.update(users).set({ name: 'Rob' }).where(eq(users.name, 'Bob')).returning({ name: users.name }), [{ name: 'Rob' }]);
        assert.equal((await db.delete(users).where(eq(users.admin, true))).rowsAffected, 1);
        assert.deepEqual(await names(db, users), ['Rob']);
    });

    withTable('a violated constraint is an error', async (db, users) => {
        await db.insert(users).values({ name: 'Ann' });
        const error = await failure(db.insert(users).values({ name: 'Ann' }));
        assert.match(`${error.message} ${error.cause?.message}`, /UNIQUE constraint failed/);
    });

    withTable('a transaction is committed, its nested one rolled back', async (db, users) => {
        await db.transaction(async (tx) => {
            await tx.insert(users).values({ name: 'outer' });
            await failure(
                tx.transaction(async (inner) => {
                    await inner.insert(users).values({ name: 'inner' });
                    inner.rollback();
                }),
            );
            await tx.transaction(async (inner) => inner.insert(users).values({ name: 'kept' }));
        });
        assert.deepEqual(await names(db, users), ['outer', 'kept']);
    });

    withTable('a transaction that throws is rolled back', async (db, users) => {
        await failure(
            db.transaction(async (tx) => {
                await tx.insert(users).values({ name: 'gone' });
                throw new Error('no');
            }),
        );
        assert.deepEqual(await names(db, users), []);
    });

    withTable('a batch', async (db, users) => {
        const [, , found] = await db.batch([db.insert(users).values({ name: 'Ann' }), db.insert(users).values({ name: 'Bob' }), db.select().from(users)]);
        assert.deepEqual(found.map(({ name }) => name), ['Ann', 'Bob']);
    });

    withTable('64 inserts at once', async (db, users) => {
        await together(64, (i) => db.insert(users).values({ name: `user ${i}` }));
        assert.equal(await db.$count(users), 64);
    });
}
