// All JavaScript clients, one after the other, in one process: `ACTIX_SQLITE_URL=http://127.0.0.1:4280 npm test`.
import './libsql.mjs';
import './drizzle.mjs';
import './kysely.mjs';
import './prisma.mjs';
