// What the checks share: the address of the server, a fresh table a check, and how an error is told.
// Every check is one flat TAP line, so that they can be counted: `ok 1 - http: ..`.
import test from 'node:test';
import assert from 'node:assert/strict';

export { assert };

const base = process.env.ACTIX_SQLITE_URL;
if (!base) throw new Error('ACTIX_SQLITE_URL is not set: http://HOST:PORT');

/** The server's address for a transport: `http` or `ws`. */
export const address = (transport) => base.replace(/^http/, transport).replace(/\/$/, '');

let tables = 0;
/** A table name that nobody else uses, in this run or another. */
export const freshTable = () => `js_${process.pid}_${++tables}`;

/** A check: fails by itself after `seconds`, so that a server that hangs fails one check and not the whole run. */
export const check = (name, body, seconds = 20) => test(name, { timeout: seconds * 1000 }, body);

/** The error of a promise that must fail. */
export async function failure(promise) {
    try {
        await promise;
    } catch (error) {
        return error;
    }
    throw new assert.AssertionError({ message: 'this should have failed' });
}

/** All the values of a result, row by row. */
export const rows = (result) => result.rows.map((row) => Array.from(row));

/** How often `n` promises are made, and all awaited. */
export const together = (n, make) => Promise.all(Array.from({ length: n }, (_, i) => make(i)));
