// SPDX-License-Identifier: Apache-2.0
// Serves both counterparts on free ports of the loopback, each its own origin, says where as one line of JSON, and
// ends when whoever started it does: then standard input closes.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { authorizationServer } from './authorization.mjs';
import { fhirServer } from './fhir.mjs';

async function listening() {
  const server = createServer({ keepAliveTimeout: 60_000 });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

const [records, logins] = await Promise.all([listening(), listening()]);
const fhir = fhirServer({
  configuration: (base) => smart.configuration(base),
  mayRead: (token, base, type) => smart.mayRead(token, base, type),
});
const smart = authorizationServer(logins.origin, fhir.patientOf);
records.server.on('request', fhir.listener);
logins.server.on('request', smart.listener);
process.stdin.on('end', () => process.exit()).resume();
console.log(JSON.stringify({ fhir: records.origin, issuer: logins.origin }));
