// Kysely with its libSQL dialect, on both transports.
import { LibsqlDialect } from '@libsql/kysely-libsql';
import { Kysely, sql } from 'kysely';
import { address, assert, check, failure, freshTable, together } from './support.mjs';

for (const transport of ['http', 'ws']) {
    const withTable = (name, body) =>
        check(`kysely ${transport}: ${name}`, async () => {
            const db = new Kysely({ dialect: new LibsqlDialect({ url: address(transport) }) });
            const t = freshTable();
            try {
                await db.schema.createTable(t).addColumn('id', 'integer', (c) => c.primaryKey()).addColumn('name', 'text', (c) => c.unique()).execute();
                await body(db, t);
            } finally {
                await db.destroy();
            }
        });
    const names = async (db, t) => (await db.selectFrom(t).select('name').orderBy('id').execute()).map(({ name }) => name);

    withTable('insert, update, select and delete', async (db, t) => {
        const inserted = await db.insertInto(t).values([{ name: 'Ann' }, { name: 'Bob' }]).returning(['id', 'name']).execute();
        assert.deepEqual(inserted, [{ id: 1, name: 'Ann' }, { id: 2, name: 'Bob' }]);
        assert.equal((await db.updateTable(t).set({ name: 'Rob' }).where('id', '=', 2).executeTakeFirst()).numUpdatedRows, 1n);
        assert.equal((await db.deleteFrom(t).where('id', '=', 1).executeTakeFirst()).numDeletedRows, 1n);
        assert.equal((await db.insertInto(t).values({ id: 9, name: 'Cid' }).executeTakeFirst()).insertId, 9n);
        assert.deepEqual(await names(db, t), ['Rob', 'Cid']);
    });

    withTable('a violated constraint is an error', async (db, t) => {
        await db.insertInto(t).values({ name: 'Ann' }).execute();
        assert.match((await failure(db.insertInto(t).values({ name: 'Ann' }).execute())).message, /UNIQUE constraint failed/);
    });

    withTable('a transaction is committed', async (db, t) => {
        await db.transaction().execute(async (tx) => {
            await tx.insertInto(t).values({ name: 'Ann' }).execute();
            assert.deepEqual(await names(tx, t), ['Ann']);
        });
        assert.deepEqual(await names(db, t), ['Ann']);
    });

    withTable('a transaction that throws is rolled back', async (db, t) => {
        await failure(
            db.transaction().execute(async (tx) => {
                await tx.insertInto(t).values({ name: 'Ann' }).execute();
                throw new Error('no');
            }),
        );
        assert.deepEqual(await names(db, t), []);
    });

    withTable('64 inserts at once', async (db, t) => {
        await together(64, (i) => db.insertInto(t).values({ name: `row ${i}` }).execute());
        const { n } = await db.selectFrom(t).select(sql`count(*)`.as('n')).executeTakeFirst();
        assert.equal(n, 64);
    });
}
